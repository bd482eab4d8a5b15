// lab-ebs-csi is a thin CSI driver for EBS volumes, registered as ebs.csi.aws.com.
//
// It stands in for the real aws-ebs-csi-driver, whose Go module cannot be had everywhere the lab is built. What the lab
// is to show about volumes in Kubernetes (who attaches what when, what a node formats, mounts and leaves behind) comes
// from the parts that are the real driver's too: Kubernetes' mount-utils, the CSI specification's protocol and the AWS
// SDK. The requests and their order are those of the real driver, so that it can take this one's place.
//
// A node of the lab is a network namespace: its plugin is a process of the host, with the host's mounts and devices.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
)

// options are what the command line says.
type options struct {
	mode         string
	endpoint     string
	registration string
	node         nodeOptions
}

func main() {
	klog.InitFlags(nil)
	var chosen options
	flag.StringVar(&chosen.mode, "mode", "both", "controller, node or both")
	flag.StringVar(&chosen.endpoint, "endpoint", "", "unix:///PATH of the socket to serve CSI on")
	flag.StringVar(&chosen.node.instance, "node-id", "", "the EC2 instance this node is (node)")
	flag.StringVar(&chosen.node.zone, "zone", "", "the instance's availability zone (node)")
	flag.Int64Var(&chosen.node.attachLimit, "attach-limit", 25, "how many volumes the node can have attached (node)")
	flag.StringVar(&chosen.registration, "kubelet-registration", "",
		"socket to make in the kubelet's plugins_registry directory; none: the kubelet is not told (node)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, chosen); err != nil {
		klog.ErrorS(err, "the driver has ended")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

// check refuses options that cannot work, all at once.
func (o *options) check() error {
	var problems []error
	if !o.controls() && !o.isNode() {
		problems = append(problems, fmt.Errorf("--mode is %q: give controller, node or both", o.mode))
	}
	if o.endpoint == "" {
		problems = append(problems, errors.New("--endpoint is missing: give unix:///PATH of a socket to make"))
	}
	if o.isNode() && (o.node.instance == "" || o.node.zone == "") {
		problems = append(problems, errors.New("--node-id or --zone is missing: a node says which instance it is, and where"))
	}
	if o.registration != "" && !o.isNode() {
		problems = append(problems, errors.New("--kubelet-registration is for nodes: leave it out or add --mode node"))
	}
	return errors.Join(problems...)
}

func (o *options) controls() bool { return o.mode == "controller" || o.mode == "both" }
func (o *options) isNode() bool   { return o.mode == "node" || o.mode == "both" }

// run serves until the context ends or a socket fails.
func run(ctx context.Context, chosen options) error {
	if err := chosen.check(); err != nil {
		return err
	}
	path, err := socketPath(chosen.endpoint)
	if err != nil {
		return err
	}
	services := services{identity: &identity{}}
	if chosen.controls() {
		cloud, err := newCloud(ctx)
		if err != nil {
			return err
		}
		services.identity.account = cloud
		services.controller = &controller{cloud: cloud, inFlight: newInFlight()}
	}
	if chosen.isNode() {
		services.node = newNode(chosen.node)
	}
	driver, err := listen(path, services.register)
	if err != nil {
		return err
	}
	servers := []*server{driver}
	if chosen.registration != "" {
		// Only now: the kubelet asks the announced socket at once.
		announced, err := listen(chosen.registration, (&registration{endpoint: path}).register)
		if err != nil {
			driver.stop()
			return err
		}
		servers = append(servers, announced)
	}
	klog.InfoS("serving", "driver", driverName, "mode", chosen.mode, "socket", path, "registration", chosen.registration)
	return serve(ctx, servers)
}
