package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

type plugin struct {
	config Config
	stub   stub.Stub
	lock   sync.Mutex
	out    io.Writer
	// Names of the containers that it was told of, to their ids.
	ids map[string]string
}

// Said is one line of the output.
type Said struct {
	Event     string          `json:"event"`
	Pod       json.RawMessage `json:"pod,omitempty"`
	Container json.RawMessage `json:"container,omitempty"`
	More      any             `json:"more,omitempty"`
	// How many fields of the messages the interface does not know.
	Unknown int `json:"unknown"`
}

func (p *plugin) configure(text string) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &p.config); err != nil {
		return fmt.Errorf("the configuration: %w", err)
	}
	if p.config.Log != "" {
		file, err := os.OpenFile(p.config.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		p.out = file
	}
	return nil
}

// told says an event, and does with it what the configuration wants: wait, refuse.
func (p *plugin) told(event string, pod *api.PodSandbox, container *api.Container, more any) error {
	p.say(event, pod, container, more)
	time.Sleep(time.Duration(p.config.Delay[event]) * time.Millisecond)
	if why, refused := p.config.Refuse[event]; refused {
		return errors.New(why)
	}
	return nil
}

func (p *plugin) say(event string, pod *api.PodSandbox, container *api.Container, more any) {
	p.lock.Lock()
	defer p.lock.Unlock()
	said := Said{Event: event, More: more}
	if pod != nil {
		said.Pod, said.Unknown = document(pod)
	}
	if container != nil {
		unknown := 0
		said.Container, unknown = document(container)
		said.Unknown += unknown
		p.remember(container)
	}
	line, err := json.Marshal(said)
	if err != nil {
		line = []byte(fmt.Sprintf(`{"event":"Broken","more":%q}`, err.Error()))
	}
	p.out.Write(append(line, '\n'))
}

func (p *plugin) remember(container *api.Container) {
	if p.ids == nil {
		p.ids = map[string]string{}
	}
	p.ids[container.GetName()] = container.GetId()
}

func document(message proto.Message) (json.RawMessage, int) {
	unknown := 0
	protorange.Range(message.ProtoReflect(), func(values protopath.Values) error {
		if one, ok := values.Index(-1).Value.Interface().(protoreflect.Message); ok && len(one.GetUnknown()) > 0 {
			unknown++
		}
		return nil
	})
	data, err := protojson.Marshal(message)
	if err != nil {
		data, _ = json.Marshal(err.Error())
	}
	return data, unknown
}

func (p *plugin) others() ([]*api.ContainerUpdate, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	updates := []*api.ContainerUpdate{}
	for name, limits := range p.config.Others {
		id, known := p.ids[name]
		if !known {
			continue
		}
		update, err := updateOf(id, limits)
		if err != nil {
			return nil, err
		}
		updates = append(updates, update)
	}
	return updates, nil
}

func updateOf(id string, limits json.RawMessage) (*api.ContainerUpdate, error) {
	resources := &api.LinuxResources{}
	if err := protojson.Unmarshal(limits, resources); err != nil {
		return nil, err
	}
	return &api.ContainerUpdate{
		ContainerId: id,
		Linux:       &api.LinuxContainerUpdate{Resources: resources},
	}, nil
}

// obey does what lines of stdin say: {"id": ..., "limits": LinuxResources} is an update of a
// container that nobody has asked the plugin for.
func (p *plugin) obey(orders io.Reader) {
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		var order struct {
			ID     string          `json:"id"`
			Limits json.RawMessage `json:"limits"`
		}
		err := json.Unmarshal(lines.Bytes(), &order)
		if err == nil {
			var update *api.ContainerUpdate
			if update, err = updateOf(order.ID, order.Limits); err == nil {
				var failed []*api.ContainerUpdate
				failed, err = p.stub.UpdateContainers([]*api.ContainerUpdate{update})
				p.say("Updated", nil, nil, map[string]any{"failed": len(failed), "error": text(err)})
				continue
			}
		}
		p.say("Broken", nil, nil, text(err))
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What the stub calls

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	if err := p.configure(config); err != nil {
		return 0, err
	}
	err := p.told("Configure", nil, nil, map[string]any{
		"runtime": runtime, "version": version, "nri": p.stub.RuntimeNRIVersion(),
		"registration": p.stub.RegistrationTimeout().Milliseconds(),
		"request":      p.stub.RequestTimeout().Milliseconds(),
	})
	if err != nil {
		return 0, err
	}
	if p.config.Events == "" {
		// Everything but the validation, which would have every creation wait for it.
		mask := api.ValidEvents
		if p.config.Reject == "" {
			mask.Clear(api.Event_VALIDATE_CONTAINER_ADJUSTMENT)
		}
		return mask, nil
	}
	return api.ParseEventMask(p.config.Events)
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	found := map[string][]string{"pods": {}, "containers": {}}
	for _, pod := range pods {
		found["pods"] = append(found["pods"], pod.GetId())
	}
	for _, container := range containers {
		found["containers"] = append(found["containers"], container.GetId())
		p.lock.Lock()
		p.remember(container)
		p.lock.Unlock()
	}
	if err := p.told("Synchronize", nil, nil, found); err != nil {
		return nil, err
	}
	return p.others()
}

func (p *plugin) Shutdown(context.Context) {
	p.say("Shutdown", nil, nil, nil)
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.told("RunPodSandbox", pod, nil, nil)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, limits *api.LinuxResources) error {
	return p.told("UpdatePodSandbox", pod, nil, map[string]any{
		"overhead": overhead.GetCpu().GetShares().GetValue(), "limits": limits.GetCpu().GetShares().GetValue(),
	})
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.told("PostUpdatePodSandbox", pod, nil, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.told("StopPodSandbox", pod, nil, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.told("RemovePodSandbox", pod, nil, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if err := p.told("CreateContainer", pod, container, nil); err != nil {
		return nil, nil, err
	}
	adjust := &api.ContainerAdjustment{}
	if len(p.config.Adjust) > 0 {
		if err := protojson.Unmarshal(p.config.Adjust, adjust); err != nil {
			return nil, nil, err
		}
	}
	updates, err := p.others()
	return adjust, updates, err
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.told("PostCreateContainer", pod, container, nil)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.told("StartContainer", pod, container, nil)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.told("PostStartContainer", pod, container, nil)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container, limits *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	asked, _ := document(limits)
	if err := p.told("UpdateContainer", pod, container, asked); err != nil {
		return nil, err
	}
	if len(p.config.Limits) == 0 {
		return nil, nil
	}
	update, err := updateOf(container.GetId(), p.config.Limits)
	return []*api.ContainerUpdate{update}, err
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.told("PostUpdateContainer", pod, container, nil)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	if err := p.told("StopContainer", pod, container, nil); err != nil {
		return nil, err
	}
	return p.others()
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.told("RemoveContainer", pod, container, nil)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
	owners, _ := document(request.GetOwners())
	if err := p.told("ValidateContainerAdjustment", request.GetPod(), request.GetContainer(), owners); err != nil {
		return err
	}
	if p.config.Reject != "" {
		return errors.New(p.config.Reject)
	}
	return nil
}
