package main

import (
	"context"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
	"k8s.io/mount-utils"
)

// NodeStageVolume mounts a volume once on its node; pods get bind mounts of that.
//
// mkfs, fsck and mount have no limit of their own: ending them half-way would do harm. The kubelet stops waiting after
// two minutes, and its next calls are Aborted until this one is through.
func (n *node) NodeStageVolume(
	ctx context.Context, request *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	volume, target := request.GetVolumeId(), request.GetStagingTargetPath()
	if err := required("volume_id", volume, "staging_target_path", target); err != nil {
		return nil, err
	}
	if err := checkCapabilities("volume_capability", request.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if request.GetPublishContext()[devicePathKey] == "" {
		return nil, missing("publish_context " + devicePathKey)
	}
	done, err := n.inFlight.begin(volume)
	if err != nil {
		return nil, err
	}
	defer done()
	source, err := device(ctx, n.links, volume)
	if err != nil {
		return nil, status.Error(codes.NotFound, err.Error())
	}
	if err := n.stage(source, target, request.GetVolumeCapability()); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) stage(source, target string, capability *csi.VolumeCapability) error {
	fsType, err := fileSystem(capability)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return status.Errorf(codes.Internal, "staging directory: %v", err)
	}
	mounted, _, err := mount.GetDeviceNameFromMount(n.mounter, target)
	if err != nil {
		return status.Errorf(codes.Internal, "what is mounted at %s cannot be told: %v", target, err)
	}
	if mounted == source {
		return n.growToDevice(source, target)
	}
	if mounted != "" {
		return status.Errorf(codes.Internal, "%s is mounted at %s, where %s belongs: unmount it there", mounted, target, source)
	}
	if err := n.mounter.FormatAndMount(source, target, fsType, mountOptions(fsType, capability)); err != nil {
		return status.Errorf(codes.Internal, "%s cannot be mounted at %s as %s: %v", source, target, fsType, err)
	}
	return n.growToDevice(source, target)
}

// growToDevice is for volumes that are larger than their file system: grown, or made from a smaller snapshot.
func (n *node) growToDevice(source, target string) error {
	smaller, err := n.grow.NeedResize(source, target)
	if err == nil && smaller {
		_, err = n.grow.Resize(source, target)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "the file system of %s at %s cannot be grown to its device: %v", source, target, err)
	}
	return nil
}

func (n *node) NodeUnstageVolume(
	_ context.Context, request *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	volume, target := request.GetVolumeId(), request.GetStagingTargetPath()
	if err := required("volume_id", volume, "staging_target_path", target); err != nil {
		return nil, err
	}
	done, err := n.inFlight.begin(volume)
	if err != nil {
		return nil, err
	}
	defer done()
	source, count, err := mount.GetDeviceNameFromMount(n.mounter, target)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "what is mounted at %s cannot be told: %v", target, err)
	}
	if count == 0 {
		return &csi.NodeUnstageVolumeResponse{}, nil
	}
	if count > 1 {
		// The device then stays in use, and the volume stays busy when it is detached.
		klog.InfoS("the device is mounted elsewhere, too", "volume", volume, "device", source, "mounts", count)
	}
	if err := n.unmount(target); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unmount takes a mount and its directory away, if they are there.
func (n *node) unmount(target string) error {
	if err := mount.CleanupMountPoint(target, n.mounter, true); err != nil {
		return status.Errorf(codes.Internal, "%s cannot be unmounted: %v; look with `fuser -vm` for who uses it", target, err)
	}
	return nil
}
