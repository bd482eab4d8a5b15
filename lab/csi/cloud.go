package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// requestLimit is how long one HTTP request to EC2 may take; the SDK tries three times.
const requestLimit = 20 * time.Second

// cloud is the EC2 account, and what this driver has to remember between calls.
type cloud struct {
	ec2     *ec2.Client
	devices *deviceNames
	// answered: the dry run has passed once; the real driver does not ask again either.
	answered atomic.Bool

	mutex sync.Mutex
	// attempts counts the client tokens that EC2 has refused, by volume name.
	attempts map[string]int
	// iopsMaximums and described keep EC2's answers, by volume type and zone, and by instance type.
	iopsMaximums map[string]int32
	described    map[types.InstanceType]bool
}

// newCloud finds the account as any AWS client does, by environment. AWS_EC2_ENDPOINT is the real driver's own variable.
func newCloud(ctx context.Context) (*cloud, error) {
	loaded, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(requestLimit)))
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("AWS configuration: no region is set; set AWS_REGION")
	}
	client := ec2.NewFromConfig(loaded, func(options *ec2.Options) {
		if endpoint := os.Getenv("AWS_EC2_ENDPOINT"); endpoint != "" {
			options.BaseEndpoint = &endpoint
		}
	})
	return &cloud{
		ec2:          client,
		devices:      newDeviceNames(),
		attempts:     map[string]int{},
		iopsMaximums: map[string]int32{},
		described:    map[types.InstanceType]bool{},
	}, nil
}

// dryRun asks EC2 whether this driver may ask it anything, until it has once said yes.
func (c *cloud) dryRun(ctx context.Context) error {
	if c.answered.Load() {
		return nil
	}
	request := &ec2.DescribeAvailabilityZonesInput{DryRun: aws.Bool(true)}
	// Whoever probes tries again: a second try here would only hide how EC2 is.
	_, err := c.ec2.DescribeAvailabilityZones(ctx, request, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
	if !isError(err, "DryRunOperation") {
		return fmt.Errorf("DescribeAvailabilityZones as a dry run: wanted DryRunOperation, got: %w",
			cmp.Or(err, errors.New("success")))
	}
	c.answered.Store(true)
	return nil
}

// instance describes one instance.
func (c *cloud) instance(ctx context.Context, id string) (*types.Instance, error) {
	reply, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return nil, err
	}
	for _, reservation := range reply.Reservations {
		for _, found := range reservation.Instances {
			return &found, nil
		}
	}
	return nil, fmt.Errorf("DescribeInstances %s: neither an instance nor an error in the reply", id)
}

// volume describes one volume.
func (c *cloud) volume(ctx context.Context, id string) (*types.Volume, error) {
	reply, err := c.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(reply.Volumes) != 1 {
		return nil, fmt.Errorf("DescribeVolumes %s: %d volumes in the reply", id, len(reply.Volumes))
	}
	return &reply.Volumes[0], nil
}

// describeType asks for an instance's type before the first volume is attached to one of it.
//
// The real driver spreads volumes over a type's EBS cards. All types of the lab have one card; it is asked all the same,
// so that what passes here passes there. As there, no answer is no reason not to attach.
func (c *cloud) describeType(ctx context.Context, name types.InstanceType) error {
	c.mutex.Lock()
	known := c.described[name]
	c.mutex.Unlock()
	if known {
		return nil
	}
	_, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{name}})
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.described[name] = true
	return err
}
