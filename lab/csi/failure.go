package main

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/smithy-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// EC2's error codes, by what they mean to a CSI driver.
var (
	volumeGone    = []string{"InvalidVolume.NotFound", "InvalidVolumeID.Malformed"}
	instanceGone  = []string{"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}
	notAttached   = []string{"IncorrectState", "InvalidAttachment.NotFound", "InvalidVolume.NotFound"}
	overLimit     = []string{"VolumeLimitExceeded", "MaxIOPSLimitExceeded", "AttachmentLimitExceeded"}
	otherwiseUsed = []string{"VolumeInUse"}
	wrongInput    = []string{
		"InvalidParameterValue", "InvalidParameterCombination", "InvalidParameterDependency", "InvalidZone.NotFound",
	}
)

// isError says whether EC2 answered one of these codes.
func isError(err error, codes ...string) bool {
	var reply smithy.APIError
	return errors.As(err, &reply) && slices.Contains(codes, reply.ErrorCode())
}

// failed is an EC2 error in the codes of the CSI specification. The SDK's text has the request, its id and EC2's words.
//
// What is not known to be final must not look final: after Aborted the provisioner asks again with the same name, after
// most others it may turn to another zone and leave a volume behind.
func failed(what string, err error, otherwise codes.Code) error {
	code := otherwise
	switch {
	case errors.Is(err, errWaited), errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, errTokenUsed):
		code = codes.AlreadyExists
	case isError(err, volumeGone...), isError(err, instanceGone...):
		code = codes.NotFound
	case isError(err, overLimit...):
		code = codes.ResourceExhausted
	case isError(err, otherwiseUsed...):
		code = codes.FailedPrecondition
	}
	return status.Errorf(code, "%s: %v", what, err)
}
