package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// wait is something that is waited for: its name is for the error that says it did not come.
type wait struct {
	name string
	// limit is for the whole wait; the caller's own deadline may end it sooner.
	limit time.Duration
	// first and most bound the time between two looks, which grows by half each time.
	first, most time.Duration
}

// errWaited is under every error of a wait that has come to its limit.
var errWaited = errors.New("the limit of this wait is reached")

// until looks again and again. `look` says what it saw, for the error at the limit; an error ends the wait.
func (w wait) until(ctx context.Context, look func(context.Context) (saw string, done bool, err error)) error {
	limited, cancel := context.WithTimeout(ctx, w.limit)
	defer cancel()
	begun, pause, seen := time.Now(), w.first, "nothing yet"
	for {
		saw, done, err := look(limited)
		if err == nil && done {
			return nil
		}
		// A look that the limit itself cut short is not a failure of its own.
		if err != nil && limited.Err() == nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if saw != "" {
			seen = saw
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("%s: not within %s, last seen: %s: %w",
				w.name, time.Since(begun).Round(time.Millisecond), seen, errWaited)
		case <-time.After(pause):
		}
		pause = min(pause*3/2, w.most)
	}
}
