package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	gib = int64(1) << 30
	// defaultSizeGiB is for requests without a capacity, as with the real driver.
	defaultSizeGiB = int64(100)
	// zoneKey is Kubernetes' label for zones, driverZoneKey the driver's own, older one.
	zoneKey       = "topology.kubernetes.io/zone"
	driverZoneKey = "topology.ebs.csi.aws.com/zone"
	// devicePathKey is where the attachment's device name is kept in a VolumeAttachment.
	devicePathKey = "devicePath"
)

// controller makes and deletes volumes, and attaches them to instances.
type controller struct {
	csi.UnimplementedControllerServer
	cloud    *cloud
	inFlight *inFlight
}

func (c *controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	rpc := func(kind csi.ControllerServiceCapability_RPC_Type) *csi.ControllerServiceCapability {
		return &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		}
	}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		rpc(csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME),
		rpc(csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME),
	}}, nil
}

func (c *controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := required("name", request.GetName()); err != nil {
		return nil, err
	}
	if err := checkCapabilities("volume_capabilities", request.GetVolumeCapabilities()...); err != nil {
		return nil, err
	}
	asked, err := volumeAsked(request)
	if err != nil {
		return nil, err
	}
	done, err := c.inFlight.begin(request.GetName())
	if err != nil {
		return nil, err
	}
	defer done()
	made, err := c.cloud.create(ctx, asked)
	if isError(err, wrongInput...) {
		return nil, failed("volume "+request.GetName()+" is not made; correct its StorageClass", err, codes.InvalidArgument)
	}
	if err != nil {
		return nil, failed("volume "+request.GetName()+" is not made", err, codes.Aborted)
	}
	zone := map[string]string{zoneKey: aws.ToString(made.AvailabilityZone)}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           aws.ToString(made.VolumeId),
		CapacityBytes:      int64(aws.ToInt32(made.Size)) * gib,
		AccessibleTopology: []*csi.Topology{{Segments: zone}},
	}}, nil
}

// volumeAsked reads a StorageClass' parameters. What this driver does not know it refuses: nothing is left out silently.
func volumeAsked(request *csi.CreateVolumeRequest) (newVolume, error) {
	asked := newVolume{
		name:       request.GetName(),
		zone:       zone(request.GetAccessibilityRequirements()),
		volumeType: types.VolumeTypeGp3,
		tags:       map[string]string{nameTag: request.GetName(), "ebs.csi.aws.com/cluster": "true"},
	}
	if request.GetVolumeContentSource() != nil || len(request.GetMutableParameters()) > 0 {
		return asked, status.Error(codes.InvalidArgument,
			"this driver makes neither copies of volumes nor volumes of a VolumeAttributesClass; leave these out")
	}
	size, err := sizeGiB(request.GetCapacityRange())
	if err != nil {
		return asked, err
	}
	asked.sizeGiB = size
	for key, value := range request.GetParameters() {
		var err error
		switch strings.ToLower(key) {
		case "type":
			asked.volumeType = types.VolumeType(value)
		case "iops":
			asked.iops, err = number(value)
		case "throughput":
			asked.throughput, err = number(value)
		case "encrypted":
			asked.encrypted, err = strconv.ParseBool(value)
		case "kmskeyid":
			asked.kmsKey = value
		case "csi.storage.k8s.io/pvc/name":
			asked.tags["kubernetes.io/created-for/pvc/name"] = value
		case "csi.storage.k8s.io/pvc/namespace":
			asked.tags["kubernetes.io/created-for/pvc/namespace"] = value
		case "csi.storage.k8s.io/pv/name":
			asked.tags["kubernetes.io/created-for/pv/name"] = value
		default:
			return asked, status.Errorf(codes.InvalidArgument,
				"parameter %s is not known: take it out of the StorageClass, or add it to the lab's driver", key)
		}
		if err != nil {
			return asked, status.Errorf(codes.InvalidArgument, "parameter %s: %v; correct the StorageClass", key, err)
		}
	}
	return asked, nil
}

func number(text string) (int32, error) {
	value, err := strconv.ParseInt(text, 10, 32)
	return int32(value), err
}

// sizeGiB is the least whole number of GiB that a volume has to have.
func sizeGiB(capacity *csi.CapacityRange) (int32, error) {
	size := defaultSizeGiB
	if capacity != nil {
		size = max(1, (capacity.GetRequiredBytes()+gib-1)/gib)
	}
	if limit := capacity.GetLimitBytes(); limit > 0 && size*gib > limit {
		return 0, status.Errorf(codes.OutOfRange,
			"EBS volumes are whole GiB: %d GiB are over the limit of %d bytes; raise it", size, limit)
	}
	return int32(min(size, 1<<30)), nil
}

// zone is the first one that Kubernetes prefers, or could do with; empty if it does not matter.
func zone(requirement *csi.TopologyRequirement) string {
	for _, topology := range append(requirement.GetPreferred(), requirement.GetRequisite()...) {
		for _, key := range []string{zoneKey, driverZoneKey} {
			if zone := topology.GetSegments()[key]; zone != "" {
				return zone
			}
		}
	}
	return ""
}

func (c *controller) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	volume := request.GetVolumeId()
	if err := required("volume_id", volume); err != nil {
		return nil, err
	}
	done, err := c.inFlight.begin(volume)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := c.cloud.remove(ctx, volume); err != nil {
		return nil, failed("volume "+volume+" is not deleted", err, codes.Internal)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (c *controller) ControllerPublishVolume(
	ctx context.Context, request *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	volume, instance := request.GetVolumeId(), request.GetNodeId()
	if err := required("volume_id", volume, "node_id", instance); err != nil {
		return nil, err
	}
	if err := checkCapabilities("volume_capability", request.GetVolumeCapability()); err != nil {
		return nil, err
	}
	done, err := c.inFlight.begin(volume + " on " + instance)
	if err != nil {
		return nil, err
	}
	defer done()
	device, err := c.cloud.attach(ctx, volume, instance)
	if err != nil {
		return nil, failed(volume+" is not attached to "+instance, err, codes.Internal)
	}
	return &csi.ControllerPublishVolumeResponse{PublishContext: map[string]string{devicePathKey: device}}, nil
}

func (c *controller) ControllerUnpublishVolume(
	ctx context.Context, request *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	volume, instance := request.GetVolumeId(), request.GetNodeId()
	if err := required("volume_id", volume, "node_id", instance); err != nil {
		return nil, err
	}
	done, err := c.inFlight.begin(volume + " on " + instance)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := c.cloud.detach(ctx, volume, instance); err != nil {
		return nil, failed(volume+" is not detached from "+instance, err, codes.Internal)
	}
	return &csi.ControllerUnpublishVolumeResponse{}, nil
}

func (c *controller) ValidateVolumeCapabilities(
	ctx context.Context, request *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	volume, asked := request.GetVolumeId(), request.GetVolumeCapabilities()
	if err := required("volume_id", volume); err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		return nil, missing("volume_capabilities")
	}
	if _, err := c.cloud.volume(ctx, volume); err != nil {
		return nil, failed("volume "+volume+" cannot be looked at", err, codes.Internal)
	}
	if err := checkCapabilities("volume_capabilities", asked...); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	confirmed := &csi.ValidateVolumeCapabilitiesResponse_Confirmed{VolumeCapabilities: asked}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: confirmed}, nil
}
