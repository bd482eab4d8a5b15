package main

import (
	"context"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NodePublishVolume shows a staged volume to a pod, as a bind mount.
func (n *node) NodePublishVolume(
	_ context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	volume, staged, target := request.GetVolumeId(), request.GetStagingTargetPath(), request.GetTargetPath()
	err := required("volume_id", volume, "target_path", target, "staging_target_path", staged)
	if err != nil {
		return nil, err
	}
	if err := checkCapabilities("volume_capability", request.GetVolumeCapability()); err != nil {
		return nil, err
	}
	done, err := n.inFlight.begin(volume)
	if err != nil {
		return nil, err
	}
	defer done()
	// The directory alone would take the pod's data as well, on the node's own disk.
	if mounted, err := n.mounter.IsMountPoint(staged); err != nil || !mounted {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is not staged at %s (%v): stage it first", volume, staged, err)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return nil, status.Errorf(codes.Internal, "target directory: %v", err)
	}
	mounted, err := n.mounter.IsMountPoint(target)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "whether %s is a mount point cannot be told: %v", target, err)
	}
	if mounted {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	options := []string{"bind"}
	if request.GetReadonly() {
		options = append(options, "ro")
	}
	// Both the file system's type and its own options are the staged mount's.
	if err := n.mounter.Mount(staged, target, "", mountOptions("", request.GetVolumeCapability(), options...)); err != nil {
		return nil, status.Errorf(codes.Internal, "%s cannot be bound to %s: %v", staged, target, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume takes the bind mount and its directory away.
func (n *node) NodeUnpublishVolume(
	_ context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	volume, target := request.GetVolumeId(), request.GetTargetPath()
	if err := required("volume_id", volume, "target_path", target); err != nil {
		return nil, err
	}
	done, err := n.inFlight.begin(volume)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := n.unmount(target); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
