package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pluginregistration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// testNode is a node's plugin, with its directories as a kubelet has them.
type testNode struct {
	csi.NodeClient
	instance, staging, target string
}

func startNode(t *testing.T, name, instance string) testNode {
	t.Helper()
	kubelet := t.TempDir()
	socket := filepath.Join(kubelet, "plugins", driverName, "csi.sock")
	registered := filepath.Join(kubelet, "plugins_registry", driverName+"-reg.sock")
	startDriver(t, name, socket, "--mode", "node", "--node-id", instance, "--zone", testZone,
		"--attach-limit", "25", "--kubelet-registration", registered)
	info, err := pluginregistration.NewRegistrationClient(dial(t, registered)).
		GetInfo(t.Context(), &pluginregistration.InfoRequest{})
	if err != nil || info.GetName() != driverName || info.GetEndpoint() != socket {
		t.Fatalf("%s announces itself as %v (%v)", name, info, err)
	}
	return testNode{
		NodeClient: csi.NewNodeClient(dial(t, socket)),
		instance:   instance,
		staging:    filepath.Join(kubelet, "staged"),
		target:     filepath.Join(kubelet, "pod"),
	}
}

func (n testNode) stage(t *testing.T, volume string, attached map[string]string) {
	t.Helper()
	_, err := n.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: volume, PublishContext: attached, StagingTargetPath: n.staging, VolumeCapability: xfs(),
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whatever happens to the test, no mount outlives it.
	t.Cleanup(func() { _ = exec.Command("umount", n.staging).Run() })
}

func (n testNode) unstage(t *testing.T, volume string) {
	t.Helper()
	request := &csi.NodeUnstageVolumeRequest{VolumeId: volume, StagingTargetPath: n.staging}
	if _, err := n.NodeUnstageVolume(t.Context(), request); err != nil {
		t.Fatal(err)
	}
}

func xfs() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "xfs"}},
	}
}

// TestVolumeMovesBetweenNodes is what the lab is for: data written on one node is there on the next, in a file system
// that has grown with its volume, and a volume that is still mounted does not leave its node.
func TestVolumeMovesBetweenNodes(t *testing.T) {
	account := newAccount(t)
	socket := filepath.Join(t.TempDir(), "csi.sock")
	startDriver(t, "controller", socket, "--mode", "controller")
	connection := dial(t, socket)
	controller := csi.NewControllerClient(connection)
	ready, err := csi.NewIdentityClient(connection).Probe(t.Context(), &csi.ProbeRequest{})
	if err != nil || !ready.GetReady().GetValue() {
		t.Fatalf("the controller is not ready: %v, %v", ready, err)
	}
	first := startNode(t, "first", account.runInstance())
	second := startNode(t, "second", account.runInstance())

	made, err := controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-moves", CapacityRange: &csi.CapacityRange{RequiredBytes: gib},
		VolumeCapabilities: []*csi.VolumeCapability{xfs()},
		AccessibilityRequirements: &csi.TopologyRequirement{
			Requisite: []*csi.Topology{{Segments: map[string]string{zoneKey: testZone}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	volume := made.GetVolume().GetVolumeId()
	attach := func(to testNode) (map[string]string, error) {
		reply, err := controller.ControllerPublishVolume(t.Context(), &csi.ControllerPublishVolumeRequest{
			VolumeId: volume, NodeId: to.instance, VolumeCapability: xfs(),
		})
		return reply.GetPublishContext(), err
	}
	detach := func(from testNode, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		request := &csi.ControllerUnpublishVolumeRequest{VolumeId: volume, NodeId: from.instance}
		_, err := controller.ControllerUnpublishVolume(ctx, request)
		return err
	}

	published, err := attach(first)
	if err != nil {
		t.Fatal(err)
	}
	first.stage(t, volume, published)
	if err := os.WriteFile(filepath.Join(first.staging, "note"), []byte("from the first node"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkReadonly(t, first, volume)
	if _, err := attach(second); status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("a volume in use was attached to another node: %v", err)
	}
	if err := detach(first, 2*time.Second); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("a mounted volume was detached: %v", err)
	}
	first.unstage(t, volume)
	if err := detach(first, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := detach(first, 30*time.Second); err != nil {
		t.Fatalf("detached once more: %v", err)
	}

	_, err = account.ec2.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &volume, Size: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	if published, err = attach(second); err != nil {
		t.Fatal(err)
	}
	second.stage(t, volume, published)
	text, err := os.ReadFile(filepath.Join(second.staging, "note"))
	if err != nil || string(text) != "from the first node" {
		t.Fatalf("the second node reads %q (%v)", text, err)
	}
	checkMount(t, second.staging)
	second.unstage(t, volume)
	if err := detach(second, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: volume}); err != nil {
		t.Fatal(err)
	}
}

// checkReadonly publishes a volume to a pod that may only read.
func checkReadonly(t *testing.T, on testNode, volume string) {
	t.Helper()
	request := &csi.NodePublishVolumeRequest{
		VolumeId: volume, StagingTargetPath: on.staging, TargetPath: on.target, VolumeCapability: xfs(), Readonly: true,
	}
	for range 2 {
		if _, err := on.NodePublishVolume(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", on.target).Run() })
	if err := os.WriteFile(filepath.Join(on.target, "more"), nil, 0o600); err == nil {
		t.Fatal("a volume that was published for reading could be written")
	}
	undo := &csi.NodeUnpublishVolumeRequest{VolumeId: volume, TargetPath: on.target}
	for range 2 {
		if _, err := on.NodeUnpublishVolume(t.Context(), undo); err != nil {
			t.Fatal(err)
		}
	}
}

// checkMount is XFS with `nouuid`, and as large as the grown volume.
func checkMount(t *testing.T, target string) {
	t.Helper()
	table, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(table), fmt.Sprintf(" %s ", target))
	line, _, _ = strings.Cut(line, "\n")
	if !strings.HasPrefix(line, "xfs ") || !strings.Contains(line, "nouuid") {
		t.Fatalf("mounted as %q", line)
	}
	var found unix.Statfs_t
	if err := unix.Statfs(target, &found); err != nil {
		t.Fatal(err)
	}
	if size := int64(found.Blocks) * found.Bsize; size < 2*gib*9/10 {
		t.Fatalf("the file system has %d bytes after its volume has grown to 2 GiB", size)
	}
}
