package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// asProgram has the test binary be the driver: tests run it as the lab does, as processes with a command line.
const asProgram = "LAB_EBS_CSI_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// startDriver runs the driver and waits until its socket answers.
func startDriver(t *testing.T, name, socket string, arguments ...string) {
	t.Helper()
	driver := exec.Command(os.Args[0], append([]string{"--endpoint", "unix://" + socket}, arguments...)...)
	driver.Env = append(os.Environ(), asProgram+"=1")
	driver.Stderr = logFile(t, name)
	begin(t, driver)
	wait := wait{name: "waiting for " + socket, limit: 20 * time.Second, first: 20 * time.Millisecond, most: time.Second}
	err := wait.until(t.Context(), func(context.Context) (string, bool, error) {
		connection, err := net.Dial("unix", socket)
		if err != nil {
			return err.Error(), false, nil
		}
		return "", true, connection.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}
