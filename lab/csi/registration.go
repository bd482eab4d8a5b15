package main

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	pluginregistration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registration tells a kubelet of the driver: what the node-driver-registrar sidecar does elsewhere.
//
// The kubelet watches its plugins_registry directory, asks each socket that appears there who it is, and then writes the
// driver into the node's CSINode object.
type registration struct {
	pluginregistration.UnimplementedRegistrationServer
	endpoint string
}

func (r *registration) register(to *grpc.Server) {
	pluginregistration.RegisterRegistrationServer(to, r)
}

func (r *registration) GetInfo(
	context.Context, *pluginregistration.InfoRequest,
) (*pluginregistration.PluginInfo, error) {
	return &pluginregistration.PluginInfo{
		Type:              pluginregistration.CSIPlugin,
		Name:              driverName,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus is told how it went. A refusal is only logged: the kubelet tries again by itself.
func (r *registration) NotifyRegistrationStatus(
	_ context.Context, told *pluginregistration.RegistrationStatus,
) (*pluginregistration.RegistrationStatusResponse, error) {
	if told.GetPluginRegistered() {
		klog.InfoS("the kubelet has registered the driver", "endpoint", r.endpoint)
	} else {
		klog.ErrorS(errors.New(told.GetError()), "the kubelet has refused the driver; look at its log", "endpoint", r.endpoint)
	}
	return &pluginregistration.RegistrationStatusResponse{}, nil
}
