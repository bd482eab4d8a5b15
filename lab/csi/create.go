package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// nameTag holds the CSI name of a volume, as with the real driver.
const nameTag = "CSIVolumeName"

// errTokenUsed: another volume was made under this name, or one that has failed or is gone.
var errTokenUsed = errors.New("the name was used for a volume with other parameters, or for one that is gone")

// tooManyIOPS is how EC2 tells the limit that a request was over.
var tooManyIOPS = regexp.MustCompile(`(?i)volume iops.*is too high.*maximum is (\d+)`)

// newVolume is a volume that is to be.
type newVolume struct {
	name       string
	sizeGiB    int32
	zone       string
	volumeType types.VolumeType
	iops       int32
	throughput int32
	encrypted  bool
	kmsKey     string
	tags       map[string]string
}

// create makes a volume, or finds the one that an earlier call for this name has made.
//
// There is no look-up by name: describes lag behind, and a volume that one misses is made twice. The client token is
// derived from the name, and EC2 makes one volume a token.
func (c *cloud) create(ctx context.Context, asked newVolume) (*types.Volume, error) {
	if asked.zone == "" {
		zone, err := c.anyZone(ctx)
		if err != nil {
			return nil, err
		}
		asked.zone = zone
	}
	request := &ec2.CreateVolumeInput{
		AvailabilityZone:   aws.String(asked.zone),
		ClientToken:        aws.String(c.token(asked.name)),
		Encrypted:          aws.Bool(asked.encrypted || asked.kmsKey != ""),
		MultiAttachEnabled: aws.Bool(false),
		Size:               aws.Int32(asked.sizeGiB),
		TagSpecifications:  volumeTags(asked.tags),
		VolumeType:         asked.volumeType,
	}
	if most := c.iopsMaximum(ctx, asked); asked.iops > 0 {
		request.Iops = aws.Int32(min(asked.iops, most))
	}
	if asked.throughput > 0 {
		request.Throughput = aws.Int32(asked.throughput)
	}
	if asked.kmsKey != "" {
		request.KmsKeyId = aws.String(asked.kmsKey)
	}
	made, err := c.ec2.CreateVolume(ctx, request)
	switch {
	case isError(err, "IdempotentParameterMismatch"):
		c.nextToken(asked.name)
		return nil, fmt.Errorf("%w: %w", errTokenUsed, err)
	case isError(err, "VolumeLimitExceeded"):
		// EC2 looks at limits before tokens: the volume may be there.
		return c.named(ctx, asked.name, err)
	case err != nil:
		return nil, err
	}
	return c.waitCreated(ctx, aws.ToString(made.VolumeId))
}

func (c *cloud) waitCreated(ctx context.Context, id string) (*types.Volume, error) {
	var created *types.Volume
	wait := wait{
		name:  fmt.Sprintf("waiting until %s is made", id),
		limit: time.Minute, first: 100 * time.Millisecond, most: 3 * time.Second,
	}
	err := wait.until(ctx, func(ctx context.Context) (string, bool, error) {
		found, err := c.volume(ctx, id)
		switch {
		case isError(err, "InvalidVolume.NotFound"):
			return "not found yet", false, nil
		case err != nil:
			return "", false, err
		case found.State == types.VolumeStateError:
			return "", false, errors.New("it has failed: look at its KMS key and snapshot; a later call makes another one")
		}
		created = found
		done := found.State == types.VolumeStateAvailable || found.State == types.VolumeStateInUse
		return string(found.State), done, nil
	})
	return created, err
}

// token is at most 64 characters, whatever the name. A token of a volume that has failed is refused for about half a
// day: the next one has a number.
func (c *cloud) token(name string) string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if refused := c.attempts[name]; refused > 0 {
		name += "-" + strconv.Itoa(refused+1)
	}
	digest := sha256.Sum256([]byte(name))
	return hex.EncodeToString(digest[:])
}

func (c *cloud) nextToken(name string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.attempts[name]++
}

// named finds a volume by its name; `otherwise` is the error if there is none.
func (c *cloud) named(ctx context.Context, name string, otherwise error) (*types.Volume, error) {
	filter := types.Filter{Name: aws.String("tag:" + nameTag), Values: []string{name}}
	reply, err := c.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{filter}})
	if err != nil {
		return nil, errors.Join(otherwise, err)
	}
	if len(reply.Volumes) != 1 {
		return nil, fmt.Errorf("%d volumes are tagged %s=%s: %w", len(reply.Volumes), nameTag, name, otherwise)
	}
	return c.waitCreated(ctx, aws.ToString(reply.Volumes[0].VolumeId))
}

// iopsMaximum learns a volume type's limit by asking, as a dry run, for far too many. No answer is no limit: EC2 will say
// itself what it thinks of the real request.
func (c *cloud) iopsMaximum(ctx context.Context, asked newVolume) int32 {
	key := string(asked.volumeType) + "|" + asked.zone
	c.mutex.Lock()
	most, known := c.iopsMaximums[key]
	c.mutex.Unlock()
	if known {
		return most
	}
	_, err := c.ec2.CreateVolume(ctx, &ec2.CreateVolumeInput{
		AvailabilityZone:  aws.String(asked.zone),
		DryRun:            aws.Bool(true),
		Iops:              aws.Int32(math.MaxInt32),
		Size:              aws.Int32(4),
		TagSpecifications: volumeTags(map[string]string{nameTag: "IopsLimitDryRun"}),
		VolumeType:        asked.volumeType,
	})
	if err == nil {
		return math.MaxInt32
	}
	found := tooManyIOPS.FindStringSubmatch(err.Error())
	if found == nil {
		return math.MaxInt32
	}
	told, err := strconv.ParseInt(found[1], 10, 32)
	if err != nil {
		return math.MaxInt32
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.iopsMaximums[key] = int32(told)
	return int32(told)
}

// anyZone is for volumes whose StorageClass binds them before a pod has a node.
func (c *cloud) anyZone(ctx context.Context) (string, error) {
	reply, err := c.ec2.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	if err != nil {
		return "", err
	}
	if len(reply.AvailabilityZones) == 0 {
		return "", errors.New("DescribeAvailabilityZones: the region has none")
	}
	return aws.ToString(reply.AvailabilityZones[0].ZoneName), nil
}

// remove deletes a volume. That there is none is success.
func (c *cloud) remove(ctx context.Context, id string) error {
	_, err := c.ec2.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
	if isError(err, volumeGone...) {
		return nil
	}
	return err
}

func volumeTags(tags map[string]string) []types.TagSpecification {
	specification := types.TagSpecification{ResourceType: types.ResourceTypeVolume}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		specification.Tags = append(specification.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return []types.TagSpecification{specification}
}
