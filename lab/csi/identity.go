package main

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/klog/v2"
)

const (
	// driverName is the real driver's: volumes, StorageClasses and CSINodes of a cluster name it.
	driverName = "ebs.csi.aws.com"
	// driverVersion tells this driver from the real one in logs.
	driverVersion = "lab"
)

// identity answers who this is and whether it can work.
type identity struct {
	csi.UnimplementedIdentityServer
	// account is missing on nodes, which do not talk to EC2.
	account *cloud
}

func (i *identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: driverVersion}, nil
}

// GetPluginCapabilities is the same on controller and nodes, as the real driver's.
func (i *identity) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(kind csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: kind}},
		}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
	}}, nil
}

// Probe is ready once EC2 has let a dry run pass.
//
// The real driver answers FailedPrecondition before that, upon which the external-attacher ends and its pod starts it
// again. Nobody does so in the lab: "not ready" has the attacher ask again.
func (i *identity) Probe(ctx context.Context, _ *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	if i.account != nil {
		if err := i.account.dryRun(ctx); err != nil {
			klog.ErrorS(err, "EC2 does not answer as it should: look at AWS_ENDPOINT_URL, AWS_REGION and the credentials")
			return &csi.ProbeResponse{Ready: wrapperspb.Bool(false)}, nil
		}
	}
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
