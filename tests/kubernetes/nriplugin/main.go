// nriplugin is an NRI plugin, of the interface's own Go module: it says what it is told, and asks
// for what it is configured to.
//
//	nriplugin describe          prints the interface's file descriptor, serialized, in base64
//	nriplugin run [CONFIG]      is a plugin; CONFIG is a JSON document, see Config
//
// A plugin that the daemon starts has no arguments, and gets its configuration from the daemon.
// Each event is one JSON document on one line, on stdout or in the file that the configuration says.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nriplugin:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, words []string) error {
	if len(words) == 1 && words[0] == "describe" {
		return describe()
	}
	config := ""
	if len(words) == 2 && words[0] == "run" {
		config = words[1]
	} else if len(words) != 0 {
		return fmt.Errorf("want describe, or run CONFIG, not %q", words)
	}
	p := &plugin{out: os.Stdout}
	if err := p.configure(config); err != nil {
		return err
	}
	options := []stub.Option{stub.WithOnClose(func() { p.say("Closed", nil, nil, nil) })}
	if p.config.Socket != "" {
		options = append(options, stub.WithSocketPath(p.config.Socket),
			stub.WithPluginName(p.config.Name), stub.WithPluginIdx(p.config.Index))
	}
	made, err := stub.New(p, options...)
	if err != nil {
		return err
	}
	p.stub = made
	go p.obey(os.Stdin)
	if err := made.Run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func describe() error {
	file := protodesc.ToFileDescriptorProto(api.File_pkg_api_api_proto)
	data, err := proto.Marshal(file)
	if err != nil {
		return err
	}
	fmt.Println(base64.StdEncoding.EncodeToString(data))
	return nil
}

// Config says who the plugin is and what it does. Keys of maps are names of events.
type Config struct {
	Socket string `json:"socket"`
	Name   string `json:"name"`
	Index  string `json:"index"`
	// Where events go, if not to stdout.
	Log string `json:"log"`
	// As subscribed to, for example "RunPodSandbox,CreateContainer"; all without it.
	Events string `json:"events"`
	// The events that are refused, with what is said.
	Refuse map[string]string `json:"refuse"`
	// Milliseconds that the answer takes, without looking at whether anybody waits.
	Delay map[string]int `json:"delay"`
	// What CreateContainer answers: a ContainerAdjustment, in protobuf's JSON.
	Adjust json.RawMessage `json:"adjust"`
	// What UpdateContainer answers for the container: a LinuxResources.
	Limits json.RawMessage `json:"limits"`
	// What CreateContainer and StopContainer answer for containers of this name: a LinuxResources.
	Others map[string]json.RawMessage `json:"others"`
	// Why every adjustment is rejected by validation.
	Reject string `json:"reject"`
}
