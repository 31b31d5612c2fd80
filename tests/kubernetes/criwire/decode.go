package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

type encoded struct {
	Message string `json:"message"` // its full name, as runtime.v1.Version
	Data    []byte `json:"data"`
}

type decoded struct {
	Data    []byte   `json:"data"`    // encoded again from the API's own type
	Unknown []string `json:"unknown"` // where the API's type did not know a field
}

func decode(question encoded) (decoded, error) {
	message, err := newMessage(protoreflect.FullName(question.Message))
	if err != nil {
		return decoded{}, err
	}
	if err := proto.Unmarshal(question.Data, message); err != nil {
		return decoded{}, fmt.Errorf("%s: %w", question.Message, err)
	}
	unknown := unknownFields(message.ProtoReflect(), question.Message)
	// What is unknown would be encoded again as it came.
	dropUnknown(message.ProtoReflect())
	data, err := proto.Marshal(message)
	return decoded{Data: data, Unknown: unknown}, err
}

func newMessage(name protoreflect.FullName) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return kind.New().Interface(), nil
}

// unknownFields walks a message and gives the paths of messages that hold unknown fields, and of
// enums with a number that has no name.
func unknownFields(message protoreflect.Message, path string) []string {
	found := []string{}
	if len(message.GetUnknown()) > 0 {
		found = append(found, path)
	}
	eachValue(message, path, func(field protoreflect.FieldDescriptor, value protoreflect.Value, path string) {
		switch field.Kind() {
		case protoreflect.MessageKind:
			found = append(found, unknownFields(value.Message(), path)...)
		case protoreflect.EnumKind:
			if field.Enum().Values().ByNumber(value.Enum()) == nil {
				found = append(found, path)
			}
		}
	})
	return found
}

func dropUnknown(message protoreflect.Message) {
	message.SetUnknown(nil)
	eachValue(message, "", func(field protoreflect.FieldDescriptor, value protoreflect.Value, _ string) {
		if field.Kind() == protoreflect.MessageKind {
			dropUnknown(value.Message())
		}
	})
}

// eachValue visits every value of a message's fields, those in lists and maps one by one.
func eachValue(
	message protoreflect.Message, path string,
	visit func(protoreflect.FieldDescriptor, protoreflect.Value, string),
) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		here := path + "." + string(field.Name())
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, entry protoreflect.Value) bool {
				visit(field.MapValue(), entry, fmt.Sprintf("%s[%v]", here, key))
				return true
			})
		case field.IsList():
			for index := range value.List().Len() {
				visit(field, value.List().Get(index), fmt.Sprintf("%s[%d]", here, index))
			}
		default:
			visit(field, value, here)
		}
		return true
	})
}
