package main

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"k8s.io/client-go/tools/remotecommand"
)

// stream runs a command in a container, or attaches to it; kind is the API's name for it.
func stream(o options, kind, container string, command []string) error {
	place, err := url.Parse(fmt.Sprintf("%s/%s/%s", o.server, kind, container))
	if err != nil {
		return err
	}
	query := url.Values{"command": command, "output": {"1"}}
	settings := remotecommand.StreamOptions{Stdout: os.Stdout, Tty: o.tty}
	if o.stdin {
		query.Set("input", "1")
		settings.Stdin = os.Stdin
	}
	if o.tty {
		query.Set("tty", "1")
	} else {
		query.Set("error", "1")
		settings.Stderr = os.Stderr
	}
	if o.size != "" {
		size := remotecommand.TerminalSize{}
		if _, err := fmt.Sscanf(o.size, "%dx%d", &size.Width, &size.Height); err != nil {
			return fmt.Errorf("size %s: %w", o.size, err)
		}
		settings.TerminalSizeQueue = &sizes{[]remotecommand.TerminalSize{size}}
	}
	place.RawQuery = query.Encode()
	executor, err := newExecutor(o, place)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(context.Background(), settings)
}

func newExecutor(o options, place *url.URL) (remotecommand.Executor, error) {
	switch o.protocol {
	case "spdy":
		return remotecommand.NewSPDYExecutor(o.config(), "POST", place)
	case "websocket":
		return remotecommand.NewWebSocketExecutor(o.config(), "GET", place.String())
	case "websocket-v4":
		return remotecommand.NewWebSocketExecutorForProtocols(
			o.config(), "GET", place.String(), "v4.channel.k8s.io")
	}
	return nil, fmt.Errorf("%s: no such protocol for commands", o.protocol)
}

// sizes gives each of its sizes once, and then no more.
type sizes struct{ left []remotecommand.TerminalSize }

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(s.left) == 0 {
		return nil
	}
	next := s.left[0]
	s.left = s.left[1:]
	return &next
}
