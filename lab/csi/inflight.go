package main

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inFlight holds what is being worked on. Kubernetes calls again when a call takes it too long, while the first one
// still runs: the second must neither do the same at once nor wait.
type inFlight struct {
	mutex sync.Mutex
	keys  map[string]bool
}

func newInFlight() *inFlight {
	return &inFlight{keys: map[string]bool{}}
}

// begin takes a key; `done` gives it back. Aborted if it is taken, as the CSI specification has it.
func (f *inFlight) begin(key string) (done func(), err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.keys[key] {
		return nil, status.Errorf(codes.Aborted, "%s: an operation with it is running already; call again later", key)
	}
	f.keys[key] = true
	return func() {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		delete(f.keys, key)
	}, nil
}
