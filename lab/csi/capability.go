package main

import (
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// defaultFileSystem is the real driver's.
const defaultFileSystem = "ext4"

// fileSystems are those that mount-utils can format, check and grow and that the lab's hosts have tools for.
var fileSystems = []string{"ext3", "ext4", "xfs"}

// checkCapabilities refuses what EBS or this driver cannot do. `field` names the request's part in the error.
func checkCapabilities(field string, capabilities ...*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return missing(field)
	}
	for _, one := range capabilities {
		if one == nil {
			return missing(field)
		}
		if one.GetBlock() != nil {
			return status.Errorf(codes.InvalidArgument,
				"%s: this driver has no raw block volumes; set volumeMode: Filesystem", field)
		}
		if mode := one.GetAccessMode().GetMode(); mode != csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER {
			return status.Errorf(codes.InvalidArgument,
				"%s: %s: an EBS volume with a file system is for one node; set accessModes: [ReadWriteOnce]", field, mode)
		}
		if _, err := fileSystem(one); err != nil {
			return err
		}
	}
	return nil
}

// fileSystem is the type a volume is to be formatted with if it has none.
func fileSystem(capability *csi.VolumeCapability) (string, error) {
	asked := capability.GetMount().GetFsType()
	if asked == "" {
		return defaultFileSystem, nil
	}
	if !slices.Contains(fileSystems, asked) {
		return "", status.Errorf(codes.InvalidArgument, "file system %q is not one of %v; set another fsType", asked, fileSystems)
	}
	return asked, nil
}

// mountOptions are the capability's own, and those that EBS volumes need.
func mountOptions(fsType string, capability *csi.VolumeCapability, more ...string) []string {
	options := slices.Clone(more)
	for _, flag := range capability.GetMount().GetMountFlags() {
		if !slices.Contains(options, flag) {
			options = append(options, flag)
		}
	}
	// A copy of a volume has its source's UUID, and XFS refuses to mount both on a node.
	if fsType == "xfs" && !slices.Contains(options, "nouuid") {
		options = append(options, "nouuid")
	}
	return options
}

// missing is the reply to a request without a field that CSI requires.
func missing(field string) error {
	return status.Errorf(codes.InvalidArgument, "the request has no %s", field)
}

// required checks pairs of field name and value.
func required(pairs ...string) error {
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] == "" {
			return missing(pair[0])
		}
	}
	return nil
}
