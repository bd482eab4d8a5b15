//! Refusals that no action is needed for: who calls too often, and who may not.

use crate::api::{ApiError, Caller, Service};

use super::state::Core;

/// Calls too often.
pub(crate) fn throttled(service: Service) -> ApiError {
    match service {
        Service::Ec2 => ApiError::with_status(503, "RequestLimitExceeded", "Request limit exceeded."),
        Service::AutoScaling | Service::Sts => ApiError::new("Throttling", "Rate exceeded"),
        Service::Ssm => ApiError::new("ThrottlingException", "Rate exceeded"),
    }
}

/// No capacity for an action. EC2 says it with a 500.
pub(crate) fn no_capacity(action: &str) -> ApiError {
    let (code, message) = match action {
        "CreateVolume" | "CopyVolumes" => (
            "InsufficientVolumeCapacity",
            "There is not enough capacity to fulfill your EBS volume provision request. Try another volume type or \
             another Availability Zone, or wait for additional capacity to become available.",
        ),
        _ => ("InsufficientInstanceCapacity", "Insufficient capacity."),
    };
    ApiError::with_status(500, code, message)
}

impl Core {
    pub(crate) fn arn(&self, caller: &Caller) -> String {
        format!("arn:aws:iam::{}:user/{}", self.config.account, caller.name)
    }

    /// May not. EC2 adds an encoded message to refusals of what would change something, for
    /// sts:DecodeAuthorizationMessage.
    pub(crate) fn denied(&self, caller: &Caller, service: Service, action: &str) -> ApiError {
        let arn = self.arn(caller);
        let plain = |prefix: &str| format!("User: {arn} is not authorized to perform: {prefix}:{action}");
        match service {
            Service::Ec2 => {
                let reason = format!(
                    "You are not authorized to perform this operation. {} because no identity-based policy allows the \
                     ec2:{action} action",
                    plain("ec2")
                );
                let encoded = if action.starts_with("Describe") {
                    String::new()
                } else {
                    format!(". Encoded authorization failure message: {}", encoded(&arn, action))
                };
                ApiError::with_status(403, "UnauthorizedOperation", reason + &encoded)
            }
            Service::AutoScaling => ApiError::with_status(403, "AccessDenied", plain("autoscaling")),
            Service::Sts => ApiError::with_status(403, "AccessDenied", plain("sts")),
            Service::Ssm => ApiError::new(
                "AccessDeniedException",
                format!("{} because no identity-based policy allows the ssm:{action} action", plain("ssm")),
            ),
        }
    }
}

/// Opaque to the caller, as EC2's is; the same for the same refusal.
fn encoded(arn: &str, action: &str) -> String {
    let digest = |part: u32| blake3::hash(format!("{part}/{arn}/{action}").as_bytes()).to_hex();
    (0..4).map(|part| digest(part).to_string()).collect()
}
