package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

const (
	// longestSocketPath is Linux' limit (unix(7), sun_path) less the closing zero.
	longestSocketPath = 107
	// shutdownLimit is how long calls may go on when the driver is told to end.
	shutdownLimit = 5 * time.Second
)

// services are what one socket serves; controller and node may be missing.
type services struct {
	identity   *identity
	controller *controller
	node       *node
}

func (s services) register(to *grpc.Server) {
	csi.RegisterIdentityServer(to, s.identity)
	if s.controller != nil {
		csi.RegisterControllerServer(to, s.controller)
	}
	if s.node != nil {
		csi.RegisterNodeServer(to, s.node)
	}
}

// server is a gRPC server on a Unix socket.
type server struct {
	grpc     *grpc.Server
	listener net.Listener
}

// socketPath takes a CSI endpoint apart. Only absolute paths: the kubelet is told of them.
func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	if !strings.HasPrefix(endpoint, "unix:") || !filepath.IsAbs(path) {
		return "", fmt.Errorf("--endpoint %s: give unix:///PATH with an absolute path", endpoint)
	}
	return path, nil
}

func listen(path string, register func(*grpc.Server)) (*server, error) {
	if len(path) > longestSocketPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, Linux takes %d: put it into a shorter directory",
			path, len(path), longestSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("socket %s: its directory cannot be made: %w", path, err)
	}
	// Left by a driver that was killed. Another one that still listens would be cut off: the lab starts one a socket.
	if found, err := os.Lstat(path); err == nil {
		if found.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("socket %s: something else is there; give another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("socket %s: the old one cannot be removed: %w", path, err)
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	made := &server{grpc: grpc.NewServer(grpc.UnaryInterceptor(logged)), listener: listener}
	register(made.grpc)
	return made, nil
}

// serve runs all servers until the context ends or one of them fails.
func serve(ctx context.Context, servers []*server) error {
	ended := make(chan error, len(servers))
	for _, one := range servers {
		go func() { ended <- one.grpc.Serve(one.listener) }()
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-ended:
	}
	for _, one := range servers {
		one.stop()
	}
	return failure
}

// stop lets running calls end, for a while. The socket goes with the listener.
func (s *server) stop() {
	limit := time.AfterFunc(shutdownLimit, s.grpc.Stop)
	defer limit.Stop()
	s.grpc.GracefulStop()
	_ = s.listener.Close()
}

// logged writes each call that changes something or fails; the rest at -v=4.
func logged(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	begun := time.Now()
	reply, err := handler(ctx, request)
	took := time.Since(begun).Round(time.Millisecond)
	subject := []any{"call", call, "took", took}
	if about, ok := request.(interface{ GetVolumeId() string }); ok {
		subject = append(subject, "volume", about.GetVolumeId())
	}
	if about, ok := request.(interface{ GetName() string }); ok {
		subject = append(subject, "name", about.GetName())
	}
	if about, ok := request.(interface{ GetNodeId() string }); ok {
		subject = append(subject, "instance", about.GetNodeId())
	}
	asks := strings.Contains(call, "Get") || call == "Probe" || strings.HasPrefix(call, "Validate")
	switch {
	case err != nil:
		klog.ErrorS(err, "refused", append(subject, "code", status.Code(err))...)
	case asks:
		klog.V(4).InfoS("answered", subject...)
	default:
		klog.InfoS("done", subject...)
	}
	return reply, err
}
