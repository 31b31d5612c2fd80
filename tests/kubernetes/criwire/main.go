// criwire is a Go caller of the CRI: it reads with the API's own types what Trilby writes.
//
//	criwire describe        prints the API's file descriptor, serialized, in base64
//	criwire decode          reads messages, says what is unknown in them, encodes them again
//	criwire call SOCKET     calls a daemon's RPCs
//
// decode and call read one JSON document per line and answer each with one line.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "criwire:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	switch {
	case len(words) == 1 && words[0] == "describe":
		return describe()
	case len(words) == 1 && words[0] == "decode":
		return serve(decode)
	case len(words) == 2 && words[0] == "call":
		caller, err := dial(words[1])
		if err != nil {
			return err
		}
		return serve(caller.call)
	}
	return fmt.Errorf("want describe, decode or call SOCKET, not %q", words)
}

func describe() error {
	data, err := proto.Marshal(protodesc.ToFileDescriptorProto(cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto))
	if err != nil {
		return err
	}
	fmt.Println(base64.StdEncoding.EncodeToString(data))
	return nil
}

// serve answers lines until stdin ends. What a question's answer cannot be is the program's end.
func serve[Q, A any](answer func(Q) (A, error)) error {
	lines := bufio.NewReader(os.Stdin)
	questions := json.NewDecoder(lines)
	answers := json.NewEncoder(os.Stdout)
	for questions.More() {
		var question Q
		if err := questions.Decode(&question); err != nil {
			return err
		}
		answered, err := answer(question)
		if err != nil {
			return err
		}
		if err := answers.Encode(answered); err != nil {
			return err
		}
	}
	return nil
}
