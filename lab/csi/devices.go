package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// describeLag is for how long DescribeInstances may not show what AttachVolume has done.
const describeLag = 5 * time.Second

// deviceNames gives out names for attachments. EC2 wants one for each; on Nitro instances no device has it.
type deviceNames struct {
	mutex sync.Mutex
	// given names, by instance and volume: taken before EC2 knows of them.
	given map[string]map[string]givenName
	// bad names, by instance: EC2 says they are in use and does not list them.
	bad map[string]map[string]bool
}

type givenName struct {
	name string
	// until is when it can be given again, unless DescribeInstances shows it then; zero while the call still runs.
	until time.Time
}

func newDeviceNames() *deviceNames {
	return &deviceNames{given: map[string]map[string]givenName{}, bad: map[string]map[string]bool{}}
}

// take picks the name of a volume on an instance: the one it has, then `attached`, or a free one, which is kept until
// it is released.
func (d *deviceNames) take(instance *types.Instance, volume string) (name string, attached bool, err error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	id := aws.ToString(instance.InstanceId)
	used := map[string]bool{}
	for _, device := range instance.BlockDeviceMappings {
		name := aws.ToString(device.DeviceName)
		if device.Ebs != nil && aws.ToString(device.Ebs.VolumeId) == volume {
			return name, true, nil
		}
		used[name] = true
	}
	for other, given := range d.given[id] {
		if !given.until.IsZero() && time.Now().After(given.until) {
			delete(d.given[id], other)
			continue
		}
		used[given.name] = true
	}
	// Bad ones last: what made them bad may be over.
	for _, bad := range []bool{false, true} {
		for name := range candidates {
			if !used[name] && d.bad[id][name] == bad {
				if d.given[id] == nil {
					d.given[id] = map[string]givenName{}
				}
				d.given[id][volume] = givenName{name: name}
				return name, false, nil
			}
		}
	}
	return "", false, fmt.Errorf("%s has no device name left for %s: detach volumes from it", id, volume)
}

// candidates are /dev/xvdaa to /dev/xvdbz, the first 52 of the real driver's.
func candidates(yield func(string) bool) {
	for _, first := range "ab" {
		for second := 'a'; second <= 'z'; second++ {
			if !yield("/dev/xvd" + string(first) + string(second)) {
				return
			}
		}
	}
}

// release ends the time of a name that is one call's. Nobody else gets it before EC2 is sure to show whether it is used.
func (d *deviceNames) release(instance, volume string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if given, known := d.given[instance][volume]; known {
		given.until = time.Now().Add(describeLag)
		d.given[instance][volume] = given
	}
}

func (d *deviceNames) avoid(instance, name string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.bad[instance] == nil {
		d.bad[instance] = map[string]bool{}
	}
	d.bad[instance][name] = true
}
