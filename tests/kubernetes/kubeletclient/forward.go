package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

// forward sends stdin over several connections to a port of a pod and prints all answers.
func forward(o options, pod, port string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	place, err := url.Parse(fmt.Sprintf("%s/portForward/%s", o.server, pod))
	if err != nil {
		return err
	}
	if o.protocol == "websocket-raw" {
		return forwardRaw(place, port, input)
	}
	dialer, err := newDialer(o, place)
	if err != nil {
		return err
	}
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.New(dialer, []string{"0:" + port}, stop, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	defer func() { close(stop); <-ended }()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		return err
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	return connect(o.connections, ports[0].Local, input)
}

func newDialer(o options, place *url.URL) (httpstream.Dialer, error) {
	switch o.protocol {
	case "spdy":
		transport, upgrader, err := spdy.RoundTripperFor(o.config())
		if err != nil {
			return nil, err
		}
		return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", place), nil
	case "websocket":
		return portforward.NewSPDYOverWebsocketDialer(place, o.config())
	}
	return nil, fmt.Errorf("%s: no such protocol to forward", o.protocol)
}

// connect talks over all connections at once, and prints the answers one after the other.
func connect(count int, port uint16, input []byte) error {
	answers, failures := make([]bytes.Buffer, count), make([]error, count)
	var all sync.WaitGroup
	for index := range count {
		all.Go(func() {
			connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				failures[index] = err
				return
			}
			defer connection.Close()
			go func() {
				connection.Write(input)
				connection.(*net.TCPConn).CloseWrite()
			}()
			_, failures[index] = answers[index].ReadFrom(connection)
		})
	}
	all.Wait()
	for index := range answers {
		if _, err := answers[index].WriteTo(os.Stdout); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// forwardRaw speaks the older WebSocket protocol: a channel for data and one for errors, both of
// which begin with the port's number.
func forwardRaw(place *url.URL, port string, input []byte) error {
	place.Scheme = "wss"
	place.RawQuery = url.Values{"port": {port}}.Encode()
	dialer := websocket.Dialer{
		TLSClientConfig: insecure(),
		Subprotocols:    []string{"v4.channel.k8s.io"},
	}
	connection, answer, err := dialer.Dial(place.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: %v", err, answer)
	}
	defer connection.Close()
	if err := connection.WriteMessage(websocket.BinaryMessage, append([]byte{0}, input...)); err != nil {
		return err
	}
	seen := map[byte]int{}
	for {
		_, message, err := connection.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		channel, data := message[0], message[1:]
		seen[channel]++
		switch {
		case seen[channel] == 1:
			if len(data) != 2 {
				return fmt.Errorf("channel %d begins with %q, not with a port", channel, data)
			}
		case channel == 1:
			return fmt.Errorf("forwarding: %s", data)
		default:
			os.Stdout.Write(data)
		}
	}
}
