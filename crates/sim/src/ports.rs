//! The ports of a simulated world.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use kube::client::Body;
use rehome_model::ids::InstanceId;
use rehome_model::task::{HostAnswer, HostTask, PodTask};
use rehome_ports::{Cloud, HostScript, Hosts, PodScript, Pods, ScriptError, ScriptOutput, Tap};

use crate::control::Control;
use crate::gate::{Call, Gate, Mishap, Port, obey};
use crate::host_tasks::host_task;
use crate::kubernetes::Failure;
use crate::world::World;

/// Time a script takes to reach a host or pod and come back.
pub(crate) const SCRIPT_MS: u64 = 400;
/// Time a call to the apiserver takes.
const KUBE_MS: u64 = 5;
/// Time a drain and stop takes.
pub(crate) const STOP_MS: u64 = 12_000;

/// The ports of a world, with a gate standing at each.
#[derive(Clone)]
pub struct SimPorts {
    world: World,
    gate: Arc<dyn Gate>,
}

impl SimPorts {
    /// The ports of a world.
    pub fn new(world: &World, control: &Arc<Control>) -> Self {
        Self { world: world.clone(), gate: Arc::clone(control) as Arc<dyn Gate> }
    }

    /// The ports of a world, behind another gate.
    pub fn behind(world: &World, gate: Arc<dyn Gate>) -> Self {
        Self { world: world.clone(), gate }
    }

    async fn before(&self, call: &Call<'_>) -> Result<u64, Mishap> {
        let (ticket, ruling) = self.gate.before(call);
        obey(ruling).await.map(|()| ticket)
    }

    async fn after(&self, ticket: u64, call: &Call<'_>) -> Result<(), Mishap> {
        obey(self.gate.after(ticket, call)).await
    }

    /// The cloud.
    pub fn cloud(&self) -> Arc<dyn Cloud> {
        Arc::new(self.world.ec2.tapped(Arc::new(self.clone())))
    }

    /// The hosts.
    pub fn hosts(&self) -> Arc<dyn Hosts> {
        Arc::new(self.clone())
    }

    /// The pods.
    pub fn pods(&self) -> Arc<dyn Pods> {
        Arc::new(self.clone())
    }

    /// The cluster.
    pub fn kube(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }
}

/// Before a cloud call the world is brought up to the present, so that what hosts wrote until now is on their disks.
#[async_trait]
impl Tap for SimPorts {
    async fn before(&self, call: &'static str, mutates: bool) -> Result<u64, String> {
        let call = Call { port: Port::Cloud, name: call, subject: "", mutates };
        let ticket = SimPorts::before(self, &call).await.map_err(|mishap| code(&mishap))?;
        self.world.with(|_, _| ());
        Ok(ticket)
    }

    async fn after(&self, ticket: u64, call: &'static str, mutates: bool) -> Result<(), String> {
        let call = Call { port: Port::Cloud, name: call, subject: "", mutates };
        SimPorts::after(self, ticket, &call).await.map_err(|mishap| code(&mishap))
    }
}

/// What the caller of EC2 sees of a mishap: EC2's code for a passing failure is also what a lost reply looks like.
fn code(mishap: &Mishap) -> String {
    match mishap {
        Mishap::Code(code) => (*code).to_owned(),
        _ => "Unavailable".to_owned(),
    }
}

fn mutates(task: &HostTask) -> bool {
    !matches!(task, HostTask::Survey | HostTask::View { .. } | HostTask::ReadIdentity { .. })
}

#[async_trait]
impl Hosts for SimPorts {
    async fn run(&self, instance: &InstanceId, script: &HostScript) -> Result<ScriptOutput, ScriptError> {
        let unreachable = |reason: String| ScriptError::Unreachable { target: instance.to_string(), reason };
        let (name, mutates) = (script.task.name(), mutates(&script.task));
        let timed_out =
            || ScriptError::TimedOut { target: instance.to_string(), task: name.to_owned(), limit_s: script.limit_s };
        let call = Call { port: Port::Hosts, name, subject: instance.as_str(), mutates };
        let ticket = match self.before(&call).await {
            Ok(ticket) => ticket,
            Err(Mishap::GoesOn(after_ms)) => {
                self.world.with(|state, now| state.goes_on(now + after_ms, instance, &script.task));
                tokio::time::sleep(Duration::from_secs(u64::from(script.limit_s))).await;
                return Err(timed_out());
            }
            Err(Mishap::NotLetIn) => {
                let reason = "Permission denied (publickey).".to_owned();
                return Err(ScriptError::NotLetIn { target: instance.to_string(), reason });
            }
            Err(Mishap::NoRoot) => {
                let reason = "sudo: a password is required".to_owned();
                return Err(ScriptError::NoRoot { target: instance.to_string(), reason });
            }
            Err(mishap) => return Err(unreachable(format!("{mishap:?}"))),
        };
        // Sent: it takes effect whatever becomes of its sender.
        let (this, on, what) = (self.clone(), instance.clone(), script.clone());
        let landed = tokio::spawn(async move { this.run_script(&on, &what).await }).await;
        let answer = match landed {
            Ok(Ran::Ended(answer)) => answer,
            Ok(Ran::TimedOut) => return Err(timed_out()),
            Ok(Ran::NoAgent) => return Err(unreachable("its agent does not answer".to_owned())),
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let cut = match self.after(ticket, &call).await {
            Ok(()) => false,
            Err(Mishap::Cut) => true,
            Err(_) => return Err(timed_out()),
        };
        match answer {
            Ok(answer) => {
                let mut stdout = serde_json::to_string(&answer).unwrap_or_default();
                if cut {
                    stdout.truncate(stdout.len() / 2);
                }
                Ok(ScriptOutput { exit_code: 0, stdout, stderr: String::new() })
            }
            Err(Some(stderr)) => Ok(ScriptOutput { exit_code: 1, stdout: String::new(), stderr }),
            Err(None) => Err(unreachable("the instance is not running".to_owned())),
        }
    }
}

/// How a script ended on its host.
enum Ran {
    Ended(Result<HostAnswer, Option<String>>),
    TimedOut,
    NoAgent,
}

impl SimPorts {
    async fn run_script(&self, instance: &InstanceId, script: &HostScript) -> Ran {
        tokio::time::sleep(Duration::from_millis(SCRIPT_MS)).await;
        if self.world.with(|state, now| state.agent_is_gone(instance, now)) {
            return Ran::NoAgent;
        }
        let limit = Duration::from_secs(u64::from(script.limit_s));
        if mutates(&script.task) && self.world.with(|state, now| state.disk_is_full(instance, now)) {
            return Ran::Ended(Err(Some("write error: No space left on device".to_owned())));
        }
        if mutates(&script.task) {
            // One script at a time: they wait for each other's lock, until their limit ends them.
            let until = tokio::time::Instant::now() + limit;
            loop {
                let (now, free) = self.world.with(|state, now| (now, state.free_at(instance)));
                if free <= now {
                    break;
                }
                let wait = Duration::from_millis(free - now);
                if tokio::time::Instant::now() + wait > until {
                    tokio::time::sleep_until(until).await;
                    return Ran::TimedOut;
                }
                tokio::time::sleep(wait).await;
            }
        }
        if let Some(run) = script.text.split_once("--run ").map(|(_, run)| run)
            && let Err(late) = self.world.with(|state, _| state.note_direction(instance, &script.task, run))
        {
            return Ran::Ended(Err(Some(late)));
        }
        if script.task == HostTask::StopService {
            let hangs = self.world.with(|state, _| state.hosts.get(instance).is_some_and(|host| host.hangs));
            if hangs {
                tokio::time::sleep(limit).await;
                return Ran::TimedOut;
            }
            let running = self.world.with(|state, now| {
                let running = state.database.processes.contains_key(instance.as_str());
                if running && let Some(host) = state.hosts.get_mut(instance) {
                    host.busy_until = now + STOP_MS;
                }
                running
            });
            if running {
                tokio::time::sleep(Duration::from_millis(STOP_MS)).await;
            }
        }
        Ran::Ended(self.world.with(|state, now| host_task(&self.world, state, now, instance, &script.task)))
    }
}

#[async_trait]
impl Pods for SimPorts {
    async fn run(
        &self,
        _namespace: &str,
        pod: &str,
        _container: &str,
        script: &PodScript,
    ) -> Result<ScriptOutput, ScriptError> {
        let unreachable = |reason: String| ScriptError::Unreachable { target: pod.to_owned(), reason };
        let mutates = script.task != PodTask::View;
        let call = Call { port: Port::Pods, name: script.task.name(), subject: pod, mutates };
        let ticket = self.before(&call).await.map_err(|mishap| match mishap {
            Mishap::Status(403, reason) => ScriptError::Refused { target: pod.to_owned(), reason: reason.to_owned() },
            mishap => unreachable(format!("{mishap:?}")),
        })?;
        let takes_ms = self.world.with(|state, _| state.exec_ms.max(SCRIPT_MS));
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        let program = script.text.split(' ').next().unwrap_or_default();
        if self.world.with(|state, _| state.pod_program != program) {
            let stderr = format!("sh: {program}: not found");
            return Ok(ScriptOutput { exit_code: 127, stdout: String::new(), stderr });
        }
        let output = self.world.with(|state, now| match script.task {
            PodTask::View => {
                let view = self.world.ec2.with(|inner, _| state.database.view(now, &inner.disks, pod));
                view.map(|view| serde_json::to_string(&view).unwrap_or_default())
            }
            PodTask::Drain => {
                self.world.ec2.with(|inner, _| state.database.drain(&mut inner.disks, pod)).map(|()| String::new())
            }
            PodTask::Open | PodTask::Close => {
                let process = state.database.processes.get_mut(pod)?;
                process.open = script.task == PodTask::Open;
                Some(String::new())
            }
        });
        let cut = match self.after(ticket, &call).await {
            Ok(()) => false,
            Err(Mishap::Cut) => true,
            Err(_) => {
                let (target, task) = (pod.to_owned(), script.task.name().to_owned());
                return Err(ScriptError::TimedOut { target, task, limit_s: script.limit_s });
            }
        };
        Ok(match output {
            Some(mut stdout) if cut => {
                stdout.truncate(stdout.len() / 2);
                ScriptOutput { exit_code: 0, stdout, stderr: String::new() }
            }
            Some(stdout) => ScriptOutput { exit_code: 0, stdout, stderr: String::new() },
            None => ScriptOutput { exit_code: 1, stdout: String::new(), stderr: "the member is not up".to_owned() },
        })
    }
}

impl tower::Service<http::Request<Body>> for SimPorts {
    type Response = http::Response<Body>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.serve(request).await })
    }
}

impl SimPorts {
    async fn serve(&self, request: http::Request<Body>) -> Result<http::Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let name: &'static str = match parts.method.as_str() {
            "POST" if parts.uri.query() == Some("dryRun=All") => "kube dry-run",
            "POST" => "kube create",
            "PUT" => "kube update",
            "PATCH" => "kube patch",
            "DELETE" => "kube delete",
            _ => "kube get",
        };
        // Reviews and the driver's own Lease change nothing of the migration.
        let path = parts.uri.path().to_owned();
        let looks = matches!(name, "kube get" | "kube dry-run");
        let mutates = !looks && !path.contains("subjectaccessreviews") && !path.contains("/leases");
        let call = Call { port: Port::Cluster, name, subject: &path, mutates };
        let ticket = match self.before(&call).await {
            Ok(ticket) => ticket,
            Err(Mishap::Status(status, reason)) => return refusal(status, reason),
            Err(mishap) => return Err(std::io::Error::other(format!("{mishap:?}"))),
        };
        let world = self.world.clone();
        let sent_to = path.clone();
        let landing = async move {
            tokio::time::sleep(Duration::from_millis(KUBE_MS)).await;
            let content = parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let query = parts.uri.query().unwrap_or_default();
            world.with(|state, now| {
                let away = state.apiserver_is_away(now);
                (!away).then(|| state.cluster.handle(now, parts.method.as_str(), &sent_to, query, content, &body))
            })
        };
        let answered = if looks {
            landing.await
        } else {
            // Sent: it takes effect whatever becomes of its sender.
            tokio::spawn(landing).await.map_err(std::io::Error::other)?
        };
        let (status, reply) = answered.ok_or_else(|| std::io::Error::other("connection refused"))?;
        self.after(ticket, &call).await.map_err(|mishap| std::io::Error::other(format!("{mishap:?}")))?;
        respond(status, reply)
    }
}

fn respond(status: u16, body: Vec<u8>) -> Result<http::Response<Body>, std::io::Error> {
    http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .map_err(std::io::Error::other)
}

fn refusal(status: u16, reason: &'static str) -> Result<http::Response<Body>, std::io::Error> {
    let failure = Failure { code: status, reason, message: format!("{reason}: try again") };
    respond(status, serde_json::to_vec(&failure.body()).unwrap_or_default())
}
