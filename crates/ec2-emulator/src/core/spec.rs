//! What a volume is asked to be, checked against its type.

use rehome_model::cloud::VolumeSpec;

use crate::api::ApiError;

use super::catalog::{VolumeTypeLimits, volume_type};

/// What a request asks for; everything is optional.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub volume_type: Option<&'a str>,
    pub size: Option<i64>,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
    pub multi_attach: bool,
}

/// The volume a request asks for. `size` is the size where the request names none.
pub(crate) fn resolve(asked: &Asked<'_>, size: Option<i64>) -> Result<VolumeSpec, ApiError> {
    let name = asked.volume_type.unwrap_or("gp2");
    let limits = volume_type(name).ok_or_else(|| {
        ApiError::new("UnknownVolumeType", format!("Unsupported volume type '{name}' for volume creation."))
    })?;
    // EC2 looks at the rates first: the EBS CSI driver learns the largest IOPS by asking for too many.
    let wanted_size = asked.size.or(size);
    let iops = resolve_iops(limits, asked.iops, wanted_size)?;
    let throughput = resolve_throughput(limits, asked.throughput, iops)?;
    let Some(size) = wanted_size else { return Err(ApiError::missing("size/snapshot")) };
    let (least, most) = limits.size_gib;
    if size < least {
        return Err(ApiError::parameter(format!(
            "Volume of {size}GiB is too small for volume type {name}; minimum is {least}GiB."
        )));
    }
    if size > most {
        return Err(ApiError::parameter(format!(
            "Volume of {size}GiB is too large for volume type {name}; maximum is {most}GiB."
        )));
    }
    if asked.multi_attach && !limits.multi_attach {
        return Err(ApiError::combination(format!(
            "The parameter MultiAttachEnabled is not supported for {name} volumes."
        )));
    }
    let shown_iops = if name == "gp2" { Some((size * 3).clamp(100, 16_000)) } else { iops };
    Ok(VolumeSpec {
        volume_type: name.to_owned(),
        size_gib: size as u32,
        iops: shown_iops.map(|iops| iops as u32),
        throughput_mib_s: throughput.map(|throughput| throughput as u32),
        encrypted: false,
        kms_key_id: None,
    })
}

fn resolve_iops(limits: &VolumeTypeLimits, asked: Option<i64>, size: Option<i64>) -> Result<Option<i64>, ApiError> {
    let name = limits.name;
    let Some((least, most, per_gib)) = limits.iops else {
        return match asked {
            None => Ok(None),
            Some(_) => Err(ApiError::combination(format!("The parameter iops is not supported for {name} volumes."))),
        };
    };
    let Some(iops) = asked.or(limits.default_iops) else { return Err(ApiError::missing("iops")) };
    if iops > most {
        return Err(ApiError::parameter(format!("Volume iops of {iops} is too high; maximum is {most}.")));
    }
    if iops < least {
        return Err(ApiError::parameter(format!("Volume iops of {iops} is too low; minimum is {least}.")));
    }
    if let Some(size) = size
        && limits.default_iops != Some(iops)
        && iops > size * per_gib
    {
        return Err(ApiError::parameter(format!(
            "Iops to volume size ratio of {:.6} is too high; maximum is {per_gib}.000000 iops per GiB",
            iops as f64 / size as f64
        )));
    }
    Ok(Some(iops))
}

fn resolve_throughput(
    limits: &VolumeTypeLimits,
    asked: Option<i64>,
    iops: Option<i64>,
) -> Result<Option<i64>, ApiError> {
    let Some((least, most)) = limits.throughput else {
        return match asked {
            None => Ok(None),
            Some(_) => Err(ApiError::combination(format!(
                "The parameter Throughput is not supported for {} volumes.",
                limits.name
            ))),
        };
    };
    let throughput = asked.unwrap_or(least);
    if throughput < least {
        return Err(ApiError::parameter(format!(
            "Throughput of {throughput} MiBps is too low; minimum is {least} MiBps."
        )));
    }
    if throughput > most {
        return Err(ApiError::parameter(format!(
            "Throughput of {throughput} MiBps is too high; maximum is {most} MiBps."
        )));
    }
    // 0.25 MiB/s an operation.
    if let Some(iops) = iops.filter(|iops| throughput * 4 > *iops) {
        return Err(ApiError::parameter(format!(
            "Throughput (MiBps) to iops ratio of {:.6} is too high; maximum is 0.250000 MiBps per iops",
            throughput as f64 / iops as f64
        )));
    }
    Ok(Some(throughput))
}
