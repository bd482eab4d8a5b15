package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"
	"k8s.io/utils/exec"
)

// nodeOptions are what the real plugin learns from the Node object and the instance's metadata.
type nodeOptions struct {
	instance    string
	zone        string
	attachLimit int64
}

// node formats and mounts volumes that are attached to its instance.
//
// It knows neither EC2 nor whether a volume is really its instance's: as on any machine, what is in /dev is there. In
// the lab all nodes share one /dev, and only Kubernetes' own care keeps a volume on one node.
type node struct {
	csi.UnimplementedNodeServer
	options  nodeOptions
	links    string
	mounter  *mount.SafeFormatAndMount
	grow     *mount.ResizeFs
	inFlight *inFlight
}

func newNode(options nodeOptions) *node {
	commands := exec.New()
	return &node{
		options:  options,
		links:    linkDirectory,
		mounter:  mount.NewSafeFormatAndMount(mount.New(""), commands),
		grow:     mount.NewResizeFs(commands),
		inFlight: newInFlight(),
	}
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	zone := map[string]string{zoneKey: n.options.zone, driverZoneKey: n.options.zone}
	return &csi.NodeGetInfoResponse{
		NodeId:             n.options.instance,
		MaxVolumesPerNode:  n.options.attachLimit,
		AccessibleTopology: &csi.Topology{Segments: zone},
	}, nil
}

func (n *node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	rpc := func(kind csi.NodeServiceCapability_RPC_Type) *csi.NodeServiceCapability {
		return &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		}
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		rpc(csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME),
		rpc(csi.NodeServiceCapability_RPC_GET_VOLUME_STATS),
	}}, nil
}

// NodeGetVolumeStats is where the kubelet's own metrics of volumes come from.
func (n *node) NodeGetVolumeStats(
	_ context.Context, request *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	path := request.GetVolumePath()
	if err := required("volume_id", request.GetVolumeId(), "volume_path", path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, status.Errorf(codes.NotFound, "volume %s is not at %s: publish it there first", request.GetVolumeId(), path)
	}
	var found unix.Statfs_t
	if err := unix.Statfs(path, &found); err != nil {
		return nil, status.Errorf(codes.Internal, "statfs %s: %v", path, err)
	}
	bytes := func(blocks uint64) int64 { return int64(blocks) * found.Bsize }
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{
			Unit:      csi.VolumeUsage_BYTES,
			Total:     bytes(found.Blocks),
			Used:      bytes(found.Blocks - found.Bfree),
			Available: bytes(found.Bavail),
		},
		{
			Unit:      csi.VolumeUsage_INODES,
			Total:     int64(found.Files),
			Used:      int64(found.Files - found.Ffree),
			Available: int64(found.Ffree),
		},
	}}, nil
}
