//! Faults on request: which calls they happen to, and what they do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{
    MINUTE, SECOND, attach, attachment, code, create, detach, done, gp3, immediate, instance, member_with_volume,
    refused, snapshot, snapshot_of, stop, timed, volume, volumes,
};
use rehome_ec2_emulator::api::{ACTIONS, Action, ApiError, Caller, DescribeById, Reply};
use rehome_ec2_emulator::core::{
    Calls, Chance, CommandState, Core, Ec2, Effect, Invocation, Rule, SsmAction, SsmReply,
};
use rehome_model::cloud::{AttachmentState, InstanceState, SnapshotState, VolumeState};
use rehome_model::ids::InstanceId;

fn set(ec2: &mut Ec2, rules: Vec<Rule>) {
    let now = ec2.now;
    ec2.core.faults.set(now, rules).unwrap_or_else(|wrong| panic!("{wrong:?}"));
}

fn regions() -> Action {
    Action::DescribeRegions(DescribeById::default())
}

fn broken() -> Effect {
    Effect::Fail(ApiError::new("Broken", "broken"))
}

/// Which of so many calls a rule for DescribeRegions happens to, counted from 1.
fn hits(rule: Rule, calls: u64) -> Vec<u64> {
    let mut ec2 = immediate();
    set(&mut ec2, vec![rule]);
    (1..=calls).filter(|_| ec2.call(&regions()).is_err()).collect()
}

#[test]
fn rules_choose_calls_by_their_number_and_by_chance() {
    let rule = |calls| Rule { calls, ..Rule::of("Describe*", broken()) };
    assert_eq!(hits(rule(Calls::All), 3), [1, 2, 3]);
    assert_eq!(hits(rule(Calls::Nth(2)), 5), [2]);
    assert_eq!(hits(rule(Calls::Every(2)), 5), [2, 4]);
    assert_eq!(hits(Rule { times: Some(2), ..rule(Calls::All) }, 5), [1, 2]);
    let chance = |seed| hits(rule(Calls::Chance(Chance { percent: 30, seed })), 200);
    assert_eq!(chance(1), chance(1), "the same seed hits the same calls");
    assert_ne!(chance(1), chance(2));
    assert!((30..90).contains(&chance(1).len()), "{:?}", chance(1));
    assert_eq!(hits(rule(Calls::Chance(Chance { percent: 0, seed: 1 })), 50), Vec::<u64>::new());
}

#[test]
fn rules_choose_calls_by_time_caller_and_resource() {
    let mut ec2 = immediate();
    set(&mut ec2, vec![Rule { from_ms: MINUTE, until_ms: Some(2 * MINUTE), ..Rule::of("*", broken()) }]);
    for expected in [false, true, false] {
        assert_eq!(ec2.call(&regions()).is_err(), expected, "at {}", ec2.now);
        ec2.pass(MINUTE);
    }
    assert!(ec2.core.faults.pending().is_empty(), "its time is over");

    ec2.core.faults.clear();
    set(&mut ec2, vec![Rule { caller: Some("AKID*".to_owned()), ..Rule::of("*", broken()) }]);
    done(&mut ec2, regions());
    let asked = ec2.core.handle(ec2.now, &Caller::new("AKIDOTHER"), &mut ec2.disks, &regions(), false);
    assert_eq!(asked.map_err(|error| error.code), Err("Broken".to_owned()));

    ec2.core.faults.clear();
    let (one, other) = (create(&mut ec2, gp3("a")).id, create(&mut ec2, gp3("a")).id);
    set(&mut ec2, vec![Rule { resource: Some(one.to_string()), ..Rule::of("DeleteVolume", broken()) }]);
    done(&mut ec2, Action::DeleteVolume(other));
    assert_eq!(code(&mut ec2, Action::DeleteVolume(one)), "Broken");
}

#[test]
fn the_first_rule_that_is_due_has_the_call_and_the_others_count_it() {
    let mut ec2 = immediate();
    let named = |name: &str, calls, code| Rule {
        name: name.to_owned(),
        calls,
        ..Rule::of("DescribeRegions", Effect::Fail(ApiError::new(code, "")))
    };
    set(&mut ec2, vec![named("a", Calls::Nth(2), "A"), named("b", Calls::All, "B")]);
    assert_eq!([code(&mut ec2, regions()), code(&mut ec2, regions()), code(&mut ec2, regions())], ["B", "A", "B"]);
    let counts: Vec<_> = ec2.core.faults.all().iter().map(|fault| (fault.seen, fault.fired)).collect();
    assert_eq!(counts, [(2, 1), (3, 2)]);
}

#[test]
fn a_rule_passes_over_what_its_effect_cannot_happen_to() {
    let mut ec2 = timed();
    ec2.core.faults.at("*", 1, Effect::FailLater);
    done(&mut ec2, regions());
    let made = create(&mut ec2, gp3("a")).id;
    ec2.pass(MINUTE);
    assert_eq!(volume(&mut ec2, &made).state, VolumeState::Error, "the first call that makes something");
}

#[test]
fn rules_that_mean_nothing_are_refused_all_at_once_and_none_is_set() {
    let mut ec2 = immediate();
    let good = Rule { name: "good".to_owned(), ..Rule::of("*", broken()) };
    let rules = vec![
        good.clone(),
        Rule::of("AttachVolumes", broken()),
        Rule::of("DescribeVolumes", Effect::FailLater),
        Rule { calls: Calls::Every(0), ..good.clone() },
        Rule { calls: Calls::Chance(Chance { percent: 101, seed: 0 }), ..Rule::of("*", broken()) },
        Rule { from_ms: 5, until_ms: Some(5), ..Rule::of("*", broken()) },
    ];
    let wrong = ec2.core.faults.set(ec2.now, rules).unwrap_err();
    for (index, says) in [
        "faults[1]: no action matches \"AttachVolumes\"; known are: GetCallerIdentity",
        "faults[2]: the effect cannot happen to DescribeVolumes; it can to: StartInstances, CreateVolume",
        "faults[3] (good): calls are counted from 1",
        "faults[4]: percent is 101",
        "faults[5]: untilMs is not after fromMs",
        "faults[3] (good): the name is there twice",
    ]
    .iter()
    .enumerate()
    {
        assert!(wrong[index].starts_with(says), "{wrong:#?}");
    }
    assert_eq!((wrong.len(), ec2.core.faults.all().len()), (6, 0));
}

#[test]
fn a_reply_that_is_lost_or_an_error_after_the_effect_leaves_the_effect() {
    for effect in [Effect::NoReply, Effect::LoseReply(ApiError::new("Broken", ""))] {
        let mut ec2 = immediate();
        ec2.core.faults.at("CreateVolume", 1, effect.clone());
        let found = code(&mut ec2, Action::CreateVolume(gp3("a")));
        assert_eq!(found, if effect == Effect::NoReply { "Transport" } else { "Broken" });
        assert_eq!(volumes(&mut ec2, DescribeById::default()).len(), 1, "{effect:?}");
    }
    // What is refused for its own reasons is not refused for another.
    let mut ec2 = immediate();
    ec2.core.faults.at("DeleteVolume", 1, Effect::lost_reply());
    assert_eq!(code(&mut ec2, Action::DeleteVolume(common::NO_VOLUME.into())), "InvalidVolume.NotFound");
}

#[test]
fn throttling_denial_and_lack_of_capacity_come_in_the_services_own_codes() {
    let mut ec2 = immediate();
    let who = ec2.member(0, "db-0");
    for (action, effect, expected) in [
        (Action::CreateVolume(gp3("a")), Effect::Throttle, "RequestLimitExceeded"),
        (Action::GetCallerIdentity, Effect::Throttle, "Throttling"),
        (Action::GetCallerIdentity, Effect::Deny, "AccessDenied"),
        (Action::StartInstances(vec![who.clone()]), Effect::InsufficientCapacity, "InsufficientInstanceCapacity"),
        (Action::CreateVolume(gp3("a")), Effect::InsufficientCapacity, "InsufficientVolumeCapacity"),
    ] {
        ec2.core.faults.at(action.name(), 1, effect);
        assert_eq!(code(&mut ec2, action), expected);
    }
    ec2.core.faults.at("CreateVolume", 1, Effect::Deny);
    let (denied, message) = refused(&mut ec2, Action::CreateVolume(gp3("a")));
    assert_eq!(denied, "UnauthorizedOperation");
    assert!(message.contains("is not authorized to perform: ec2:CreateVolume because"), "{message}");
    assert!(message.contains("Encoded authorization failure message: "), "{message}");
    assert_eq!(volumes(&mut ec2, DescribeById::default()).len(), 1, "the member's own");
    ec2.core.faults.at("DescribeVolumes", 1, Effect::Deny);
    let (_, message) = refused(&mut ec2, Action::DescribeVolumes(DescribeById::default()));
    assert!(!message.contains("Encoded"), "EC2 encodes nothing for describes: {message}");
}

#[test]
fn what_was_begun_may_fail_later_or_never_end() {
    let mut ec2 = timed();
    let (member, data) = member_with_volume(&mut ec2);
    ec2.core.faults.at("CreateVolume", 1, Effect::FailLater);
    let made = create(&mut ec2, gp3("a"));
    assert_eq!(made.state, VolumeState::Creating);
    ec2.core.faults.at("CreateSnapshot", 1, Effect::FailLater);
    let Reply::Snapshot(captured) = done(&mut ec2, snapshot_of(&data)) else { panic!() };
    ec2.pass(10 * MINUTE);
    assert_eq!(volume(&mut ec2, &made.id).state, VolumeState::Error);
    assert_eq!(snapshot(&mut ec2, &captured.id).state, SnapshotState::Error);

    let sound = create(&mut ec2, gp3("a")).id;
    ec2.pass(MINUTE);
    ec2.core.faults.at("AttachVolume", 1, Effect::Stuck);
    done(&mut ec2, attach(&sound, &member, "/dev/xvdg"));
    ec2.core.faults.at("DetachVolume", 1, Effect::Stuck);
    done(&mut ec2, detach(&data));
    ec2.core.faults.at("StopInstances", 1, Effect::Stuck);
    done(&mut ec2, stop(&member));
    ec2.pass(24 * common::HOUR);
    assert_eq!(attachment(&mut ec2, &sound), Some(AttachmentState::Attaching));
    assert_eq!(attachment(&mut ec2, &data), Some(AttachmentState::Detaching));
    assert_eq!(instance(&mut ec2, &member).state, InstanceState::Stopping);
}

#[test]
fn a_start_may_fall_back_and_the_next_one_not() {
    let mut ec2 = timed();
    let (member, _) = member_with_volume(&mut ec2);
    done(&mut ec2, stop(&member));
    ec2.pass(10 * MINUTE);
    assert!(instance(&mut ec2, &member).state_reason.is_some_and(|reason| reason.is_a_stop()));
    ec2.core.faults.at("StartInstances", 1, Effect::FailLater);
    for (state, code) in [(InstanceState::Stopped, Some("Client.InternalError")), (InstanceState::Running, None)] {
        done(&mut ec2, Action::StartInstances(vec![member.clone()]));
        assert_eq!(instance(&mut ec2, &member).state, InstanceState::Pending);
        ec2.pass(10 * MINUTE);
        let found = instance(&mut ec2, &member);
        assert_eq!((found.state, found.state_reason.as_ref().map(|reason| reason.code.as_str())), (state, code));
    }
}

#[test]
fn a_stale_describe_looks_back_and_a_stale_change_shows_late() {
    let mut ec2 = immediate();
    let (member, data) = member_with_volume(&mut ec2);
    let stale = Rule { calls: Calls::Every(2), ..Rule::of("DescribeVolumes", Effect::StaleMs(MINUTE)) };
    set(&mut ec2, vec![stale]);
    ec2.pass(30 * SECOND);
    done(&mut ec2, detach(&data));
    ec2.pass(30 * SECOND);
    let seen: Vec<_> = (0..4).map(|_| attachment(&mut ec2, &data)).collect();
    assert_eq!(seen, [None, Some(AttachmentState::Attached), None, Some(AttachmentState::Attached)]);
    ec2.pass(MINUTE);
    assert_eq!((attachment(&mut ec2, &data), attachment(&mut ec2, &data)), (None, None), "longer ago than a minute");

    ec2.core.faults.clear();
    ec2.core.faults.at("AttachVolume", 1, Effect::StaleMs(MINUTE));
    done(&mut ec2, attach(&data, &member, "/dev/xvdf"));
    ec2.pass(59 * SECOND);
    assert_eq!(attachment(&mut ec2, &data), None);
    ec2.pass(SECOND);
    assert_eq!(attachment(&mut ec2, &data), Some(AttachmentState::Attached));
    done(&mut ec2, detach(&data));
    assert_eq!(attachment(&mut ec2, &data), None, "the next change shows at once");
}

#[test]
fn an_instance_goes_though_it_is_protected() {
    let mut ec2 = immediate();
    let (gone, stays) = (ec2.member(0, "db-0"), ec2.member(1, "db-1"));
    ec2.core.instances.get_mut(&gone).unwrap().termination_protection = true;
    ec2.core.faults.at("DescribeInstances", 2, Effect::InstanceGone("db-0".to_owned()));
    assert_eq!(instance(&mut ec2, &gone).state, InstanceState::Running);
    assert_eq!(instance(&mut ec2, &gone).state, InstanceState::Terminated);
    assert_eq!(instance(&mut ec2, &stays).state, InstanceState::Running);
}

fn ssm(ec2: &mut Ec2, action: &SsmAction) -> Result<SsmReply, String> {
    let answer = ec2.core.handle_ssm(ec2.now, &Caller::default(), &mut ec2.disks, action);
    answer.arrived().map_err(|error| error.code)
}

fn send(instance: &InstanceId, command: &str) -> SsmAction {
    SsmAction::SendCommand { command: command.to_owned(), instances: vec![instance.clone()] }
}

fn shown(ec2: &mut Ec2, instance: &InstanceId, command: &str) -> Invocation {
    let action = SsmAction::GetCommandInvocation { command: command.to_owned(), instance: instance.clone() };
    match ssm(ec2, &action) {
        Ok(SsmReply::Invocation(found)) => found,
        other => panic!("{other:?}"),
    }
}

fn success(text: &str) -> Invocation {
    Invocation::ended(CommandState::Success, 0, text.to_owned(), String::new())
}

#[test]
fn agents_go_commands_are_given_up_and_output_is_cut() {
    let mut ec2 = immediate();
    let (one, other) = (ec2.member(0, "db-0"), ec2.member(1, "db-1"));
    let gone = Rule { resource: Some(one.to_string()), ..Rule::of("*", Effect::AgentGone) };
    set(&mut ec2, vec![gone]);
    assert_eq!(ssm(&mut ec2, &send(&one, "c-1")), Err("InvalidInstanceId".to_owned()));
    assert_eq!(ssm(&mut ec2, &send(&other, "c-2")), Ok(SsmReply::Sent));
    let look = |id: &InstanceId| SsmAction::DescribeInstanceInformation { instances: vec![id.clone()] };
    assert_eq!(ssm(&mut ec2, &look(&one)), Ok(SsmReply::Online(Vec::new())));
    assert_eq!(ssm(&mut ec2, &look(&other)), Ok(SsmReply::Online(vec![other.clone()])));

    ec2.core.faults.clear();
    ec2.core.faults.at("SendCommand", 1, Effect::CommandTimesOutMs(MINUTE));
    ec2.core.faults.at("SendCommand", 2, Effect::CutOutput(3));
    for command in ["late", "cut"] {
        assert_eq!(ssm(&mut ec2, &send(&one, command)), Ok(SsmReply::Sent));
        assert_eq!(shown(&mut ec2, &one, command).state, CommandState::InProgress);
    }
    ec2.pass(MINUTE);
    assert_eq!(shown(&mut ec2, &one, "late").state, CommandState::TimedOut, "its script goes on");
    for command in ["late", "cut"] {
        ec2.core.commands.end(command, &one, success("äbcdef"));
    }
    assert_eq!(shown(&mut ec2, &one, "late").state, CommandState::TimedOut, "and nobody hears of its end");
    assert_eq!(shown(&mut ec2, &one, "cut").stdout, "äbc");

    ec2.core.faults.at("SendCommand", 1, Effect::Deny);
    ec2.core.faults.at("SendCommand", 2, Effect::Throttle);
    let codes = [ssm(&mut ec2, &send(&one, "c-3")), ssm(&mut ec2, &send(&one, "c-4"))];
    assert_eq!(codes.map(Result::unwrap_err), ["AccessDeniedException", "ThrottlingException"]);
}

fn saved(core: &Core) -> Core {
    serde_json::from_str(&serde_json::to_string(core).unwrap()).unwrap()
}

#[test]
fn faults_and_ended_commands_survive_a_restart_and_what_ran_is_not_known() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    set(&mut ec2, vec![Rule { calls: Calls::Nth(3), ..Rule::of("DescribeRegions", broken()) }]);
    done(&mut ec2, regions());
    for command in ["ended", "runs"] {
        ssm(&mut ec2, &send(&member, command)).unwrap();
    }
    ec2.core.commands.end("ended", &member, success("out"));
    ec2.core = saved(&ec2.core);
    done(&mut ec2, regions());
    assert_eq!(code(&mut ec2, regions()), "Broken", "the third call, counted over the restart");
    assert_eq!(shown(&mut ec2, &member, "ended").stdout, "out");
    let lost = SsmAction::GetCommandInvocation { command: "runs".to_owned(), instance: member };
    assert_eq!(ssm(&mut ec2, &lost), Err("InvocationDoesNotExist".to_owned()));
}

#[test]
fn the_state_holds_only_so_much_output() {
    let mut ec2 = immediate();
    let member = ec2.member(0, "db-0");
    let text = "x".repeat(20_000);
    for number in 0..100 {
        let command = format!("c-{number}");
        ssm(&mut ec2, &send(&member, &command)).unwrap();
        ec2.core.commands.end(&command, &member, success(&text));
    }
    assert_eq!(shown(&mut ec2, &member, "c-0").stdout, text, "while it serves, it remembers");
    assert!(serde_json::to_string(&ec2.core).unwrap().len() < 400_000);
    ec2.core = saved(&ec2.core);
    assert_eq!(shown(&mut ec2, &member, "c-99").stdout, text, "the newest are there");
}

#[test]
fn every_action_that_is_offered_can_be_named_in_a_rule() {
    let offered = include_str!("foreign/offered.py");
    for action in ACTIONS {
        assert!(offered.contains(action), "{action} is not in offered.py");
    }
    let names = offered.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| {
        ["Describe", "Create", "Get", "Send", "Copy", "Delete", "Run", "Start", "Stop", "Terminate", "Modify"]
            .iter()
            .chain(&["Attach", "Detach", "Enter", "Exit", "Suspend", "Resume"])
            .any(|verb| word.len() > verb.len() && word.starts_with(verb))
    });
    for name in names {
        assert!(ACTIONS.contains(&name), "{name} is offered, and cannot be named");
    }
}
