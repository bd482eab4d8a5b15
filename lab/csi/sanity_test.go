package main

import (
	"crypto/rand"
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
)

// notApplicable are the suite's tests that this driver is not held to: what the suite says when it skips them, and why.
// Any other skip is a failure.
var notApplicable = map[string]string{
	"Snapshot not supported":       noSnapshots,
	"ListSnapshots not supported":  noSnapshots,
	"GetSnapshot not supported":    noSnapshots,
	"DeleteSnapshot not supported": noSnapshots,
	"CreateSnapshot not supported": noSnapshots,

	"GroupControllerService not supported": noSnapshots,

	"Volume Cloning not supported": "no CLONE_VOLUME: nothing in the lab makes a claim from another claim",

	"Modify volume not supported":              noModification,
	"Modify Volume not supported":              noModification,
	"ControllerModifyVolume not supported":     noModification,
	"ControllerExpandVolume not supported":     noExpansion,
	"NodeExpandVolume not supported":           noExpansion,
	"ListVolumes not supported":                "no LIST_VOLUMES: the real driver has none either",
	"GetCapacity not supported":                "no GET_CAPACITY: EBS has no capacity to ask for",
	"ControllerGetVolumeHealth not supported":  noHealth,
	"ControllerListVolumeHealth not supported": noHealth,
	"NodeGetVolumeHealth not supported":        noHealth,
	"NodeGetStorageHealth not supported":       noHealth,

	"ControllerPublishVolume.readonly field not supported":      "no PUBLISH_READONLY: EBS attaches for writing only",
	"Service does not have single node multi writer capability": "no SINGLE_NODE_MULTI_WRITER: as the real driver",
}

const (
	noSnapshots    = "no snapshots through CSI: rehome makes them through EC2 itself"
	noModification = "no MODIFY_VOLUME: rehome changes volumes through EC2 itself"
	noExpansion    = "no EXPAND_VOLUME: a file system grows when its volume is staged, which the move test shows"
	noHealth       = "no volume health: neither the real driver nor Kubernetes 1.34 has it"
)

// TestSanity holds the driver to Kubernetes' own suite, against the emulator with real devices.
func TestSanity(t *testing.T) {
	instance := newAccount(t).runInstance()
	directory := t.TempDir()
	socket := filepath.Join(directory, "csi.sock")
	// Of the 28 attachments of an m5.large one is the root volume: the suite checks that one more is refused.
	startDriver(t, "driver", socket, "--mode", "both", "--node-id", instance, "--zone", testZone, "--attach-limit", "27")

	config := sanity.NewTestConfig()
	config.Address = "unix://" + socket
	config.IDGen = ids{}
	config.StagingPath = filepath.Join(directory, "staging")
	config.TargetPath = filepath.Join(directory, "target")
	config.TestNodeVolumeAttachLimit = true
	config.TestVolumeParameters = map[string]string{"type": "gp3", "iops": "3000"}
	config.TestVolumeSize = gib

	suite := sanity.GinkgoTest(&config)
	defer suite.Finalize()
	var specs types.SpecReports
	ginkgo.ReportAfterSuite("what ran", func(report types.Report) { specs = report.SpecReports })
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.RunSpecs(t, "CSI sanity")
	checkSkips(t, specs)
}

func checkSkips(t *testing.T, specs types.SpecReports) {
	t.Helper()
	passed, skipped := 0, map[string]int{}
	for _, spec := range specs {
		switch {
		case spec.LeafNodeType != types.NodeTypeIt:
		case spec.State == types.SpecStatePassed:
			passed++
		case spec.State == types.SpecStateSkipped:
			skipped[spec.Failure.Message]++
			if notApplicable[spec.Failure.Message] == "" {
				t.Errorf("%q was skipped: %s", spec.FullText(), spec.Failure.Message)
			}
		}
	}
	t.Logf("%d tests passed", passed)
	for message, reason := range notApplicable {
		if skipped[message] == 0 {
			t.Errorf("no test says %q any more: take it out of the list", message)
		}
		t.Logf("%2d not applicable: %s", skipped[message], reason)
	}
}

// ids are ids as EC2 makes them: of others it says that they are malformed, not that nothing is found.
type ids struct{}

func (ids) GenerateUniqueValidVolumeID() string { return "vol-0" + digits() }
func (ids) GenerateInvalidVolumeID() string     { return "not-a-volume" }
func (ids) GenerateUniqueValidNodeID() string   { return "i-0" + digits() }
func (ids) GenerateInvalidNodeID() string       { return "not-an-instance" }

func digits() string {
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	return hex.EncodeToString(random)
}
