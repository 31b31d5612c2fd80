package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The kubelet's limits.
const (
	largestMessage = 16 * 1024 * 1024
	defaultTimeout = 120 * time.Second
)

type request struct {
	RPC     string          `json:"rpc"`     // as RuntimeService/Version
	Request json.RawMessage `json:"request"` // in protobuf's JSON form; missing means empty
	Timeout float64         `json:"timeout"` // seconds
	Take    int             `json:"take"`    // end a stream after so many messages; 0: at its end
}

type response struct {
	Responses []json.RawMessage `json:"responses"` // one, or those of a stream
	Unknown   []string          `json:"unknown"`
	Code      string            `json:"code"` // OK, or the error's
	Error     string            `json:"error"`
	Seconds   float64           `json:"seconds"`
}

type caller struct{ connection *grpc.ClientConn }

func dial(socket string) (*caller, error) {
	connection, err := grpc.NewClient("unix://"+strings.TrimPrefix(socket, "unix://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestMessage)))
	return &caller{connection}, err
}

func (c *caller) call(question request) (response, error) {
	method, err := findMethod(question.RPC)
	if err != nil {
		return response{}, err
	}
	input, err := newMessage(method.Input().FullName())
	if err != nil {
		return response{}, err
	}
	if len(question.Request) > 0 {
		if err := protojson.Unmarshal(question.Request, input); err != nil {
			return response{}, fmt.Errorf("%s: %w", question.RPC, err)
		}
	}
	timeout := defaultTimeout
	if question.Timeout > 0 {
		timeout = time.Duration(question.Timeout * float64(time.Second))
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	began := time.Now()
	answer := response{Responses: []json.RawMessage{}, Unknown: []string{}}
	failure, err := c.collect(ctx, method, input, question.Take, &answer)
	answer.Code = status.Code(failure).String()
	if failure != nil {
		answer.Error = status.Convert(failure).Message()
	}
	answer.Seconds = time.Since(began).Seconds()
	return answer, err
}

// collect gives the RPC's error, and apart from it an error of this program.
func (c *caller) collect(
	ctx context.Context, method protoreflect.MethodDescriptor, input proto.Message, take int,
	answer *response,
) (failure, err error) {
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	add := func(output proto.Message) error {
		answer.Unknown = append(answer.Unknown,
			unknownFields(output.ProtoReflect(), string(method.Output().Name()))...)
		text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(output)
		answer.Responses = append(answer.Responses, text)
		return err
	}
	if !method.IsStreamingServer() {
		output, err := newMessage(method.Output().FullName())
		if err != nil {
			return nil, err
		}
		if failure := c.connection.Invoke(ctx, path, input, output); failure != nil {
			return failure, nil
		}
		return nil, add(output)
	}
	stream, failure := c.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if failure != nil {
		return failure, nil
	}
	if failure := errors.Join(stream.SendMsg(input), stream.CloseSend()); failure != nil {
		return failure, nil
	}
	for take == 0 || len(answer.Responses) < take {
		output, err := newMessage(method.Output().FullName())
		if err != nil {
			return nil, err
		}
		if failure := stream.RecvMsg(output); failure == io.EOF {
			return nil, nil
		} else if failure != nil {
			return failure, nil
		}
		if err := add(output); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func findMethod(name string) (protoreflect.MethodDescriptor, error) {
	service, method, _ := strings.Cut(name, "/")
	services := cri.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	if found := services.ByName(protoreflect.Name(service)); found != nil {
		if rpc := found.Methods().ByName(protoreflect.Name(method)); rpc != nil {
			return rpc, nil
		}
	}
	return nil, fmt.Errorf("%s: the API has no such RPC", name)
}
