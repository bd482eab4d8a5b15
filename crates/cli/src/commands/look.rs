//! Commands that only look.

use anyhow::Result;
use rehome_engine::{EngineError, Ports};
use rehome_model::finding::{Finding, Severity};
use rehome_model::format;
use rehome_model::ids::{InstanceId, RunId};
use rehome_model::migration::Migration;
use rehome_model::plan::Plan;
use rehome_model::record::{Phase, RunRecord};
use rehome_model::survey::Survey;
use rehome_planner::PlanError;
use rehome_ports::ErrorClass;
use rehome_profiles::Profile;
use rehome_survey::SurveyError;

use super::ending;
use crate::args::{Format, FromMigration, Plan as PlanArgs, Target};
use crate::exit::{Exit, problem};
use crate::output::{eshow, say, show};
use crate::{connect, input, output};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Looks at everything a migration concerns.
pub async fn survey(ports: &Ports, migration: &Migration, profile: &dyn Profile, now_ms: u64) -> Result<Survey> {
    let survey = rehome_survey::survey(&through(ports, now_ms), migration, profile).await;
    survey.map_err(|error| unseen(&error, migration))
}

/// The same, for the facts of a plan that is there already: of one that is being carried out, or else of whom the migration file
/// selects now.
pub async fn facts(
    ports: &Ports,
    migration: &Migration,
    profile: &dyn Profile,
    carried_out: Option<&Plan>,
    now_ms: u64,
) -> Result<Survey> {
    let of = |plan: &Plan| plan.members.iter().map(|member| member.instance.clone()).collect::<Vec<InstanceId>>();
    let members = carried_out.map(of);
    let survey = rehome_survey::survey_of_facts(&through(ports, now_ms), migration, profile, members.as_deref()).await;
    survey.map_err(|error| unseen(&error, migration))
}

fn through(ports: &Ports, now_ms: u64) -> rehome_survey::Ports<'_> {
    rehome_survey::Ports { cloud: ports.cloud.as_ref(), hosts: ports.hosts.as_ref(), kube: &ports.kube, now_ms }
}

fn unseen(error: &SurveyError, migration: &Migration) -> anyhow::Error {
    let (exit, hint) = advice(error, &migration.spec.source.region);
    problem(exit, error.to_string(), &format!("{hint}. Nothing was changed"))
}

/// What to do about it.
fn advice(error: &SurveyError, region: &str) -> (Exit, String) {
    match error {
        SurveyError::NoMembers { .. } => {
            let hint = "correct spec.source.members or spec.source.region, and see that AWS_ENDPOINT_URL, if it is set, \
                        and the credentials are those of this account and region";
            (Exit::Usage, hint.to_owned())
        }
        SurveyError::WrongRegion { .. } => (Exit::Usage, "correct spec.source in the migration".to_owned()),
        SurveyError::Cloud { source, .. } => match source.code.as_str() {
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
                let action = iam_action(source.operation);
                let line = format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}"#);
                (Exit::Unreachable, format!("the caller's policy needs {line}"))
            }
            "AuthFailure" | "SignatureDoesNotMatch" | "InvalidSignatureException" => {
                let hint = format!(
                    "see that the endpoint (AWS_ENDPOINT_URL, if it is set) is one of region {region}, and that the \
                     credentials are valid and the clock is right"
                );
                (Exit::Unreachable, hint)
            }
            _ if source.class() == ErrorClass::Credentials => {
                let hint = "renew the AWS credentials (`aws sts get-caller-identity` should answer)";
                (Exit::Unreachable, hint.to_owned())
            }
            _ => (Exit::Unreachable, "see that the AWS CLI may do the same".to_owned()),
        },
        SurveyError::Cluster { .. } => (Exit::Unreachable, "see that kubectl may do the same".to_owned()),
    }
}

/// An operation as policies name it.
fn iam_action(operation: &str) -> String {
    let service = match operation {
        "GetCallerIdentity" => "sts",
        "DescribeAutoScalingInstances" | "DescribeAutoScalingGroups" | "EnterStandby" | "ExitStandby" => "autoscaling",
        _ => "ec2",
    };
    format!("{service}:{operation}")
}

/// Surveys, checks, plans.
pub async fn make_plan(
    ports: &Ports,
    migration: &Migration,
    profile: &dyn Profile,
    now_ms: u64,
) -> Result<(Survey, Vec<Finding>, Plan)> {
    let survey = survey(ports, migration, profile, now_ms).await?;
    let findings = rehome_lint::lint(migration, &survey, profile);
    let plan = rehome_planner::plan(migration, &survey, profile, findings.clone()).map_err(no_plan)?;
    Ok((survey, findings, plan))
}

/// Why there is no plan.
fn no_plan(error: PlanError) -> anyhow::Error {
    match error {
        PlanError::Findings(errors) => {
            let text = output::findings(&errors);
            problem(
                Exit::Findings,
                format!("no plan is made:\n{text}"),
                "`rehome explain CODE` says more. Nothing was changed",
            )
        }
        other => problem(Exit::Usage, other.to_string(), "correct the migration. Nothing was changed"),
    }
}

/// What is advised for a legacy side that does not serve (start it, scale the set to 0) would give a cluster that has moved a second
/// writer, or take it down. A record that cannot be read keeps nobody from looking.
async fn refuse_moved(ports: &Ports, migration: &Migration) -> Result<()> {
    let (namespace, name) = (&migration.spec.target.namespace, &migration.metadata.name);
    match rehome_engine::status(ports.kube.clone(), namespace, name).await {
        Ok(Some((record, _))) if is_moved(record.header.phase) => Err(problem(
            Exit::Usage,
            format!(
                "run {} of this migration is {}: what would be reported of its legacy members must not be acted on",
                record.header.run, record.header.phase
            ),
            match record.header.phase {
                Phase::Completed | Phase::Finalizing | Phase::Finalized => {
                    "`rehome verify` tells whether the new side is as promised. Nothing was changed"
                }
                _ => "`rehome status` tells where it stands, and the command that goes on. Nothing was changed",
            },
        )),
        _ => Ok(()),
    }
}

/// Whether a run in this phase has begun to take the members out of service, and has not brought them back.
fn is_moved(phase: Phase) -> bool {
    phase != Phase::Preparing && !phase.is_back()
}

/// `rehome check`.
pub async fn check(from: &FromMigration) -> Result<Exit> {
    let migration = input::migration_to_plan(&from.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    refuse_moved(&ports, &migration).await?;
    let survey = survey(&ports, &migration, profile, now_ms()).await?;
    let findings = rehome_lint::lint(&migration, &survey, profile);
    match from.output {
        Format::Text => show!("{}{}", output::survey(&survey), output::findings(&findings))?,
        Format::Json => show!("{}", output::json(format::FINDINGS, &findings)?)?,
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Ok(Exit::Findings);
    }
    // Where members cannot be placed there is no plan either.
    rehome_planner::plan(&migration, &survey, profile, findings).map_err(no_plan)?;
    Ok(Exit::Ok)
}

/// `rehome plan`.
pub async fn plan(args: &PlanArgs) -> Result<Exit> {
    let migration = input::migration_to_plan(&args.from.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    refuse_moved(&ports, &migration).await?;
    let survey = survey(&ports, &migration, profile, now_ms()).await?;
    let findings = rehome_lint::lint(&migration, &survey, profile);
    let plan = match rehome_planner::plan(&migration, &survey, profile, findings.clone()) {
        Ok(plan) => plan,
        Err(error) => {
            if let Some(document) = instead_of_plan(args.from.output, &error, &findings) {
                show!("{document}")?;
            }
            return Err(no_plan(error));
        }
    };
    if let Some(path) = &args.out {
        input::write_plan(path, &plan)?;
    }
    match args.from.output {
        Format::Text => {
            eshow!("{}{}", output::survey(&survey), output::findings(&findings));
            show!("{}", output::plan(&plan))?;
        }
        Format::Json => show!("{}", output::json(format::PLAN, &plan)?)?,
    }
    Ok(Exit::Ok)
}

/// A program that asked for a document gets one where there is no plan, too: what was found.
fn instead_of_plan(output: Format, error: &PlanError, findings: &[Finding]) -> Option<String> {
    let asked = output == Format::Json && matches!(error, PlanError::Findings(_));
    asked.then(|| output::json(format::FINDINGS, findings).ok())?
}

/// `rehome render`.
pub async fn render(from: &FromMigration) -> Result<Exit> {
    let migration = input::migration_to_plan(&from.file)?;
    let profile = input::profile(&migration.spec.application.profile)?;
    let ports = connect::ports(&migration).await?;
    refuse_moved(&ports, &migration).await?;
    let (_, _, plan) = make_plan(&ports, &migration, profile, now_ms()).await?;
    let run = RunId::from(rehome_planner::manifests::KNOWN_AFTER_APPLY);
    let objects = rehome_planner::manifests::all(&plan, &run);
    match from.output {
        Format::Text => {
            for object in objects {
                // JSON is YAML; one object a document, as kubectl takes them.
                say!("---\n{}", output::escaped(&serde_json::to_string_pretty(&object)?))?;
            }
        }
        Format::Json => show!("{}", output::json(format::OBJECTS, objects)?)?,
    }
    Ok(Exit::Ok)
}

/// The run that is recorded, if any. Why it cannot be read has an exit code of its own: what was asked may well be so.
pub async fn recorded(kube: &kube::Client, namespace: &str, migration: &str) -> Result<Option<(RunRecord, Plan)>> {
    rehome_engine::status(kube.clone(), namespace, migration).await.map_err(|error| {
        let (exit, hint) = ending::of_store(&error);
        problem(exit, error.to_string(), &format!("{hint}. Nothing was changed"))
    })
}

/// The recorded run of a migration file, for a command that is of no use without one, for this reason.
pub async fn run_of(kube: &kube::Client, migration: &Migration, why: &str) -> Result<(RunRecord, Plan)> {
    let (name, namespace) = (&migration.metadata.name, &migration.spec.target.namespace);
    let Some((record, plan)) = recorded(kube, namespace, name).await? else {
        let none = EngineError::NoRun { migration: name.clone(), namespace: namespace.clone() };
        return Err(problem(Exit::Usage, none.to_string(), &format!("{why}. Nothing was changed")));
    };
    input::same_as_recorded(&plan, migration)?;
    Ok((record, plan))
}

/// `rehome status`.
pub async fn status(target: &Target) -> Result<Exit> {
    let kube = connect::kube(target.context.as_deref()).await?;
    let Some((record, plan)) = recorded(&kube, &target.namespace, &target.name).await? else {
        let none = EngineError::NoRun { migration: target.name.clone(), namespace: target.namespace.clone() };
        return Err(problem(Exit::Usage, none.to_string(), "name and namespace are those of the migration file"));
    };
    match target.output {
        Format::Text => show!("{}", output::status(&record, &plan))?,
        Format::Json => show!("{}", output::json(format::STATUS, &record)?)?,
    }
    Ok(if record.header.phase == Phase::Stuck { Exit::Stuck } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use rehome_ports::CloudError;

    use super::*;

    fn told(operation: &'static str, code: &str) -> (Exit, String) {
        let source = CloudError::new(operation, code, "");
        advice(&SurveyError::Cloud { what: "the members' instances", source }, "eu-west-1")
    }

    #[test]
    fn a_denied_action_is_told_with_the_policy_line_that_it_needs() {
        let line = |action: &str| format!(r#"{{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}"#);
        let (exit, hint) = told("DescribeInstances", "UnauthorizedOperation");
        assert_eq!((exit, hint.contains(&line("ec2:DescribeInstances"))), (Exit::Unreachable, true), "{hint}");
        let (_, hint) = told("DescribeAutoScalingInstances", "AccessDenied");
        assert!(hint.contains(&line("autoscaling:DescribeAutoScalingInstances")), "{hint}");
    }

    #[test]
    fn where_findings_stand_in_the_way_a_program_gets_them_as_a_document() {
        let error = PlanError::Findings(Vec::new());
        let document = instead_of_plan(Format::Json, &error, &[]).unwrap_or_default();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap_or_default();
        assert_eq!(document, serde_json::json!({"format": {"name": "rehome.findings", "version": 1}, "value": []}));
        assert_eq!(instead_of_plan(Format::Text, &error, &[]), None);
    }

    #[test]
    fn a_signature_that_is_not_taken_points_at_region_and_endpoint() {
        for code in ["AuthFailure", "SignatureDoesNotMatch"] {
            let (exit, hint) = told("GetCallerIdentity", code);
            assert_eq!(exit, Exit::Unreachable);
            assert!(hint.contains("AWS_ENDPOINT_URL") && hint.contains("eu-west-1"), "{hint}");
        }
        assert!(told("DescribeInstances", "RequestExpired").1.contains("renew the AWS credentials"));
        assert!(told("DescribeInstances", "Transport").1.contains("AWS CLI"));
    }

    #[test]
    fn nobody_is_told_to_mend_a_legacy_side_that_is_not_to_serve() {
        for phase in [Phase::Preparing, Phase::RolledBack, Phase::Returned] {
            assert!(!is_moved(phase), "{phase}");
        }
        let moved = [Phase::Cutover, Phase::Completed, Phase::Undoing, Phase::Stuck, Phase::Returning];
        for phase in moved.into_iter().chain([Phase::Finalizing, Phase::Finalized]) {
            assert!(is_moved(phase), "{phase}");
        }
    }
}
