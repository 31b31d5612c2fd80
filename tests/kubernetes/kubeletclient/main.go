// kubeletclient calls a kubelet's own HTTPS API as the API server does, with client-go.
//
//	kubeletclient get PATH
//	kubeletclient exec [-protocol P] [-stdin] [-tty] [-size WxH] NAMESPACE/POD/CONTAINER COMMAND...
//	kubeletclient attach [the same options] NAMESPACE/POD/CONTAINER
//	kubeletclient forward [-protocol P] [-connections N] NAMESPACE/POD PORT
//
// Protocols are spdy, websocket (the newest), websocket-v4 and, to forward, websocket-raw. forward
// sends what stdin holds over N connections at once and prints what each one gave.
// The exit status is the command's, or 255.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/exec"
)

type options struct {
	server      string
	protocol    string
	stdin       bool
	tty         bool
	size        string
	connections int
}

func main() {
	var status exec.CodeExitError
	err := run(os.Args[1:])
	if errors.As(err, &status) {
		os.Exit(status.Code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubeletclient:", err)
		os.Exit(255)
	}
}

func run(words []string) error {
	if len(words) == 0 {
		return errors.New("want a command")
	}
	var o options
	flags := flag.NewFlagSet(words[0], flag.ContinueOnError)
	flags.StringVar(&o.server, "server", "https://127.0.0.1:10250", "the kubelet")
	flags.StringVar(&o.protocol, "protocol", "spdy", "how to stream")
	flags.BoolVar(&o.stdin, "stdin", false, "send stdin")
	flags.BoolVar(&o.tty, "tty", false, "with a terminal")
	flags.StringVar(&o.size, "size", "", "the terminal's columns and rows, as 80x24")
	flags.IntVar(&o.connections, "connections", 1, "how many connections to forward")
	if err := flags.Parse(words[1:]); err != nil {
		return err
	}
	rest := flags.Args()
	switch {
	case words[0] == "get" && len(rest) == 1:
		return get(o, rest[0])
	case words[0] == "exec" && len(rest) >= 2:
		return stream(o, "exec", rest[0], rest[1:])
	case words[0] == "attach" && len(rest) == 1:
		return stream(o, "attach", rest[0], nil)
	case words[0] == "forward" && len(rest) == 2:
		return forward(o, rest[0], rest[1])
	}
	return fmt.Errorf("%q: wrong command or arguments", words)
}

// config trusts any certificate: the kubelet signs its own.
func (o options) config() *rest.Config {
	return &rest.Config{Host: o.server, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func get(o options, path string) error {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: insecure()}}
	answer, err := client.Get(o.server + "/" + strings.TrimPrefix(path, "/"))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s: %s: %s", path, answer.Status, text)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
