package main

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

const testZone = "us-east-1a"

// account is an emulated EC2 account with devices on this host.
type account struct {
	test  *testing.T
	state string
	ec2   *ec2.Client
}

// newAccount starts an emulator for one test, or skips the test.
func newAccount(t *testing.T) *account {
	t.Helper()
	program := os.Getenv("REHOME")
	if program == "" {
		t.Skip("REHOME is not set: it is the path of the rehome binary, whose EC2 emulator this test needs")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: volumes are loop devices, and they are mounted")
	}
	made := &account{test: t, state: filepath.Join(t.TempDir(), "ec2")}
	t.Setenv("AWS_ENDPOINT_URL", made.start(program))
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	loaded, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made.ec2 = ec2.NewFromConfig(loaded)
	t.Cleanup(made.removeMachines)
	return made
}

// start runs the emulator and returns its URL, the first line that it prints.
//
// Each with a seed of its own: emulators with the same seed make the same volume ids, and their volumes' links in /dev are
// the host's. A lab that runs here would lose its links to this test, and the test would find the lab's devices.
func (a *account) start(program string) string {
	a.test.Helper()
	seed := strconv.FormatUint(rand.Uint64()>>1, 10)
	emulator := exec.Command(program, "emulate", "ec2", "--state", a.state, "--port", "0", "--devices",
		"--time-scale", "0", "--seed", seed)
	output, err := emulator.StdoutPipe()
	if err != nil {
		a.test.Fatal(err)
	}
	emulator.Stderr = logFile(a.test, "emulator")
	begin(a.test, emulator)
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(output).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case url := <-line:
		if !strings.HasPrefix(url, "http://") {
			a.test.Fatalf("the emulator printed %q where its URL belongs", url)
		}
		return url
	case <-time.After(30 * time.Second):
		a.test.Fatal("the emulator has not printed its URL within 30 s")
		return ""
	}
}

// runInstance starts an instance that is a record only.
func (a *account) runInstance() string {
	a.test.Helper()
	reply, err := a.ec2.RunInstances(a.test.Context(), &ec2.RunInstancesInput{
		ImageId:      aws.String("ami-0123456789abcdef0"),
		InstanceType: types.InstanceTypeM5Large,
		MinCount:     aws.Int32(1), MaxCount: aws.Int32(1),
		Placement: &types.Placement{AvailabilityZone: aws.String(testZone)},
	})
	if err != nil {
		a.test.Fatal(err)
	}
	id := aws.ToString(reply.Instances[0].InstanceId)
	wait := wait{
		name:  "waiting until " + id + " runs",
		limit: 30 * time.Second, first: 50 * time.Millisecond, most: time.Second,
	}
	err = wait.until(a.test.Context(), func(ctx context.Context) (string, bool, error) {
		found, err := a.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if isError(err, instanceGone...) {
			return "not found yet", false, nil
		}
		if err != nil {
			return "", false, err
		}
		state := found.Reservations[0].Instances[0].State.Name
		return string(state), state == types.InstanceStateNameRunning, nil
	})
	if err != nil {
		a.test.Fatal(err)
	}
	return id
}

// removeMachines terminates all instances; their root volumes and devices go with them. What then is left is what the
// driver has left behind.
func (a *account) removeMachines() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reply, err := a.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	if err != nil {
		a.test.Errorf("DescribeInstances at the end: %v", err)
		return
	}
	for _, reservation := range reply.Reservations {
		for _, found := range reservation.Instances {
			id := aws.ToString(found.InstanceId)
			if _, err := a.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
				a.test.Errorf("%s cannot be terminated: %v", id, err)
			}
		}
	}
	wait := wait{
		name:  "waiting until no volume and no device is left",
		limit: 20 * time.Second, first: 50 * time.Millisecond, most: time.Second,
	}
	err = wait.until(ctx, func(ctx context.Context) (string, bool, error) {
		volumes, err := a.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
		if err != nil {
			return "", false, err
		}
		var left []string
		for _, found := range volumes.Volumes {
			left = append(left, aws.ToString(found.VolumeId))
		}
		left = append(left, a.loops()...)
		return strings.Join(left, " "), len(left) == 0, nil
	})
	if err != nil {
		a.test.Error(err)
		a.removeDevices()
	}
}

// removeDevices is for a test that has failed half-way.
func (a *account) removeDevices() {
	for _, left := range a.loops() {
		_ = exec.Command("losetup", "-d", left).Run()
	}
	files, _ := filepath.Glob(filepath.Join(a.state, "volumes", "vol-*.img"))
	for _, file := range files {
		_ = os.Remove(link(linkDirectory, strings.TrimSuffix(filepath.Base(file), ".img")))
	}
}

// loops are the loop devices of this account's volumes.
func (a *account) loops() []string {
	output, err := exec.Command("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").Output()
	if err != nil {
		a.test.Errorf("losetup: %v", err)
	}
	var found []string
	for line := range strings.Lines(string(output)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(strings.TrimSpace(file), a.state+"/") {
			found = append(found, name)
		}
	}
	return found
}

// begin starts a process that ends with the test, at the latest.
func begin(t *testing.T, command *exec.Cmd) {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(10*time.Second, func() { _ = command.Process.Kill() })
		defer late.Stop()
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Errorf("%s, asked to end: %v", filepath.Base(command.Path), err)
		}
	})
}

// logFile takes a process' log, which is shown if the test fails.
func logFile(t *testing.T, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = file.Close()
		if text, err := os.ReadFile(file.Name()); err == nil && t.Failed() {
			t.Logf("log of %s:\n%s", name, text)
		}
	})
	return file
}
