package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"k8s.io/klog/v2"
)

// stuckAttaching is when the real driver gives an attachment up, and detaches for a fresh try.
const stuckAttaching = 90 * time.Second

// attach attaches a volume to an instance, and returns the device name in EC2's books.
//
// Kubernetes asks again and again, so success is what counts, whoever brought it about: a volume that DescribeInstances
// shows there already is only waited for. That covers a lost reply to AttachVolume as well.
func (c *cloud) attach(ctx context.Context, volume, instance string) (string, error) {
	to, err := c.instance(ctx, instance)
	if err != nil {
		return "", err
	}
	if err := c.describeType(ctx, to.InstanceType); err != nil {
		klog.ErrorS(err, "the instance's type is not known, one EBS card is assumed", "type", to.InstanceType)
	}
	device, attached, err := c.devices.take(to, volume)
	if err != nil {
		return "", err
	}
	defer c.devices.release(instance, volume)
	if !attached {
		err := c.requestAttachment(ctx, volume, instance, device)
		if isError(err, otherwiseUsed...) {
			device, err = c.attachedAs(ctx, volume, instance, err)
		}
		if err != nil {
			return "", err
		}
	}
	return device, c.waitAttached(ctx, volume, instance, device, attached)
}

// attachedAs is for a volume in use: by this instance, before DescribeInstances shows it, is as good as attached now.
// The real driver leaves this to the next call, which finds DescribeInstances up to date.
func (c *cloud) attachedAs(ctx context.Context, volume, instance string, otherwise error) (string, error) {
	found, err := c.volume(ctx, volume)
	if err != nil {
		return "", errors.Join(otherwise, err)
	}
	if to := attachment(found, instance); to != nil {
		return aws.ToString(to.Device), nil
	}
	return "", otherwise
}

func (c *cloud) requestAttachment(ctx context.Context, volume, instance, device string) error {
	_, err := c.ec2.AttachVolume(ctx, &ec2.AttachVolumeInput{
		Device: aws.String(device), InstanceId: aws.String(instance), VolumeId: aws.String(volume),
	})
	if isError(err, "InvalidParameterValue") && strings.Contains(err.Error(), "already in use") {
		// In use by something that DescribeInstances does not show (yet, or at all): the last to be tried from now on.
		c.devices.avoid(instance, device)
	}
	return err
}

func (c *cloud) waitAttached(ctx context.Context, volume, instance, device string, listed bool) error {
	wait := wait{
		name:  fmt.Sprintf("waiting until %s is attached to %s", volume, instance),
		limit: stuckAttaching + 30*time.Second, first: 100 * time.Millisecond, most: 3 * time.Second,
	}
	return wait.until(ctx, func(ctx context.Context) (string, bool, error) {
		found, err := c.volume(ctx, volume)
		if isError(err, volumeGone...) {
			return "", false, err
		}
		if err != nil {
			return err.Error(), false, nil
		}
		to := attachment(found, instance)
		switch {
		case to == nil && listed:
			// DescribeInstances lags behind a detachment: it is attached anew, and the caller has to ask again.
			err := c.requestAttachment(ctx, volume, instance, device)
			return "", false, joined("DescribeInstances shows it attached, DescribeVolumes does not; call again", err)
		case to == nil:
			return "not attached", false, nil
		case to.State == types.VolumeAttachmentStateAttaching && time.Since(aws.ToTime(to.AttachTime)) > stuckAttaching:
			_, err := c.ec2.DetachVolume(ctx, &ec2.DetachVolumeInput{InstanceId: &instance, VolumeId: &volume})
			return "", false, joined(fmt.Sprintf("attaching for over %s, so it is detached again; call again", stuckAttaching), err)
		case aws.ToString(to.Device) != device:
			return fmt.Sprintf("%s as %s, not %s", to.State, aws.ToString(to.Device), device), false, nil
		}
		return string(to.State), to.State == types.VolumeAttachmentStateAttached, nil
	})
}

// detach detaches a volume from an instance. That it is not attached there is success.
func (c *cloud) detach(ctx context.Context, volume, instance string) error {
	if _, err := c.instance(ctx, instance); err != nil {
		if isError(err, instanceGone...) {
			return nil
		}
		return err
	}
	_, err := c.ec2.DetachVolume(ctx, &ec2.DetachVolumeInput{InstanceId: &instance, VolumeId: &volume})
	if isError(err, notAttached...) || isError(err, volumeGone...) {
		return nil
	}
	if err != nil {
		return err
	}
	wait := wait{
		name:  fmt.Sprintf("waiting until %s is detached from %s", volume, instance),
		limit: 5 * time.Minute, first: 100 * time.Millisecond, most: 5 * time.Second,
	}
	return wait.until(ctx, func(ctx context.Context) (string, bool, error) {
		found, err := c.volume(ctx, volume)
		if isError(err, volumeGone...) {
			return "", true, nil
		}
		if err != nil {
			return err.Error(), false, nil
		}
		from := attachment(found, instance)
		if from == nil {
			return "", true, nil
		}
		if from.State == types.VolumeAttachmentStateBusy {
			return "busy: it is still mounted on the instance; unmount it there", false, nil
		}
		return string(from.State), from.State == types.VolumeAttachmentStateDetached, nil
	})
}

// attachment is a volume's attachment to one instance, or nothing.
func attachment(volume *types.Volume, instance string) *types.VolumeAttachment {
	for _, found := range volume.Attachments {
		if aws.ToString(found.InstanceId) == instance {
			return &found
		}
	}
	return nil
}

// joined is an error of its own, with another as its further cause if there is one.
func joined(message string, cause error) error {
	if cause == nil {
		return fmt.Errorf("%s", message)
	}
	return fmt.Errorf("%s: %w", message, cause)
}
