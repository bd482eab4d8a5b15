package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// linkDirectory is where udev, and the emulator in its place, links disks by what they are.
const linkDirectory = "/dev/disk/by-id"

// plainDevice is what the real driver takes for a device: nothing deeper in /dev.
var plainDevice = regexp.MustCompile(`^/dev/[A-Za-z0-9]+$`)

// device finds a volume's block device.
//
// By the volume's id only, not by the name that it was attached as: on Nitro instances, which the lab's are, no device
// has that name. The real driver looks for it first and comes here when there is none.
func device(ctx context.Context, links, volume string) (string, error) {
	path := link(links, volume)
	wait := wait{
		name:  fmt.Sprintf("waiting for %s, the link to the device of %s", path, volume),
		limit: 10 * time.Second, first: 50 * time.Millisecond, most: time.Second,
	}
	var device string
	err := wait.until(ctx, func(context.Context) (string, bool, error) {
		resolved, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err.Error() + " (is the volume attached?)", false, nil
		}
		if !plainDevice.MatchString(resolved) {
			return "", false, fmt.Errorf("it leads to %s, which is no device's name", resolved)
		}
		found, err := os.Stat(resolved)
		if err != nil {
			return err.Error(), false, nil
		}
		if found.Mode()&os.ModeDevice == 0 || found.Mode()&os.ModeCharDevice != 0 {
			return "", false, fmt.Errorf("it leads to %s, which is no block device", resolved)
		}
		device = resolved
		return resolved, true, nil
	})
	return device, err
}

// link is where a volume's device is linked.
func link(links, volume string) string {
	return filepath.Join(links, "nvme-Amazon_Elastic_Block_Store_"+strings.ReplaceAll(volume, "-", ""))
}
