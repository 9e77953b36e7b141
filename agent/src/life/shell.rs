//! Runs what [`Life`] says, and tells it what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::rand::GetRandomFlags;
use tokio::sync::mpsc;
use wulfpack_shared::net::clock::MonoClock;
use wulfpack_shared::time::{Mono, Now};

use super::context::{Context, StepError};
use super::machine::{Input, Key, Life, Output, Step};
use super::steps;
use crate::console::{Command, HELP, Prompt, Typed};
use crate::supervisor::{Channel, ToSupervisor};

/// How often the progress line is drawn.
const PROGRESS: Duration = Duration::from_secs(1);

/// How the life before the pivot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// PID 1 is the real init; this process goes on in the new root.
    Pivoted,
    /// The machine goes down.
    GoingDown,
}

/// Lives until the pivot.
pub(super) async fn live(context: &Arc<Context>, channel: &mut Option<Channel>) -> Result<Ended> {
    let clock = MonoClock::start();
    let mut seed = [0; 8];
    // For the length of pauses: not worth a wait for the kernel's random numbers.
    rustix::rand::getrandom(&mut seed, GetRandomFlags::INSECURE).context("failed to ask for random numbers")?;
    let mut life = Life::new(context.args().on_fail, u64::from_le_bytes(seed));
    if context.args().discover {
        life = life.discovering();
    }
    let (inputs, mut inbox) = mpsc::channel::<Typing>(64);
    watch_keyboards(context, &inputs);
    let mut progress = tokio::time::interval(PROGRESS);
    progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut retry_at = None;
    life.handle_input(Now::mono(clock.now()), Input::Start);
    loop {
        while let Some(output) = life.poll_output() {
            match output {
                Output::Run(Step::Pivot) => {
                    context.save();
                    match steps::pivot(context, channel).await {
                        Ok(()) => return Ok(Ended::Pivoted),
                        Err(StepError { reason, hold }) => {
                            life.handle_input(
                                Now::mono(clock.now()),
                                Input::Failed { step: Step::Pivot, reason, hold },
                            );
                        }
                    }
                }
                Output::Run(step) => start(context, step, &inputs),
                Output::Report(kind) => context.tell(kind),
                Output::Rescue { step, reason, retry_at: at } => {
                    retry_at = at;
                    rescue(context, step, &reason, at.map(|at| at.since(clock.now())));
                }
                Output::Reboot => return go_down(context, channel, ToSupervisor::Reboot).await,
                Output::Poweroff => return go_down(context, channel, ToSupervisor::Poweroff).await,
            }
        }
        let wake =
            life.poll_timeout().map_or_else(|| Instant::now() + Duration::from_secs(3600), |(at, _)| clock.instant(at));
        let input = tokio::select! {
            Some(typing) = inbox.recv() => match typing {
                Typing::Input(input) => Some(input),
                Typing::Command(command) => obey(context, command, life.step()).await,
            },
            () = tokio::time::sleep_until(wake.into()) => Some(Input::Tick),
            _ = progress.tick() => {
                draw(context, &life, retry_at, clock.now());
                None
            }
        };
        if let Some(input) = input {
            life.handle_input(Now::mono(clock.now()), input);
        }
    }
}

/// What other tasks tell the loop.
#[derive(Debug)]
enum Typing {
    Input(Input),
    Command(Command),
}

fn start(context: &Arc<Context>, step: Step, inputs: &mpsc::Sender<Typing>) {
    let (context, inputs) = (Arc::clone(context), inputs.clone());
    context.left().doing = None;
    tokio::spawn(async move {
        let done = steps::run(&context, step).await;
        if done.is_ok() && step == Step::Discover {
            let restart = context.left().restart.take().is_some();
            let word = if restart { Input::Restart } else { Input::Adopted(context.args().on_fail) };
            let _ended = inputs.send(Typing::Input(word)).await;
        }
        let input = match done {
            Ok(()) => Input::Done(step),
            Err(StepError { reason, hold }) => Input::Failed { step, reason, hold },
        };
        let linked = input == Input::Done(Step::Link);
        // The loop has ended: the machine goes down, nobody cares.
        let _ended = inputs.send(Typing::Input(input)).await;
        if linked {
            steps::link_lost(&context).await;
            let _ended = inputs.send(Typing::Input(Input::LinkLost)).await;
        }
    });
}

fn rescue(context: &Context, step: Step, reason: &str, pause: Option<Duration>) {
    context.say(format!("{} failed: {reason}", step.title()));
    match pause {
        Some(pause) => {
            context.console.line(&format!("trying again in {} s; any key stops that", pause.as_secs().max(1)))
        }
        None => context.console.line("held: nothing is tried until you say so"),
    }
    context.console.line(&format!("rescue: type {HELP}"));
}

fn draw(context: &Context, life: &Life, retry_at: Option<Mono>, now: Mono) {
    let Some(step) = life.step() else { return };
    if let (Some((at, _)), Some(_)) = (life.poll_timeout(), retry_at) {
        context.console.progress(&format!("{}: again in {} s", step.title(), at.since(now).as_secs()));
        return;
    }
    let doing = context.left().doing.clone();
    if let Some(doing) = doing.or_else(|| steps::fetch_progress(context)) {
        context.console.progress(&format!("{}: {doing}", step.title()));
    }
}

async fn go_down(context: &Context, channel: &mut Option<Channel>, message: ToSupervisor) -> Result<Ended> {
    context.say("the machine goes down");
    // The head hears of it if it can; nobody waits longer for that.
    let _unheard = tokio::time::timeout(Duration::from_secs(3), steps::flush_reports(context)).await;
    if let Some(mut channel) = channel.take() {
        tokio::task::spawn_blocking(move || channel.request(&message)).await??;
    }
    Ok(Ended::GoingDown)
}

fn watch_keyboards(context: &Arc<Context>, inputs: &mpsc::Sender<Typing>) {
    for mut keyboard in context.console.keyboards() {
        let (console, inputs) = (context.console.clone(), inputs.clone());
        tokio::spawn(async move {
            let mut prompt = Prompt::default();
            loop {
                let byte = tokio::select! {
                    byte = keyboard.next() => byte,
                    // The loop has ended: the keyboard belongs to the running system.
                    () = inputs.closed() => return,
                };
                let Ok(byte) = byte else { return };
                let typing = match prompt.type_byte(byte) {
                    Typed::Echo(text) => {
                        console.raw(text);
                        continue;
                    }
                    Typed::EchoChar(character) => {
                        console.raw(character.encode_utf8(&mut [0; 4]));
                        Typing::Input(Input::Key(Key::Attention))
                    }
                    Typed::Command(command) => Typing::Command(command),
                    Typed::Help => {
                        console.raw(&format!("\r\nrescue: type {HELP}\r\n"));
                        Typing::Input(Input::Key(Key::Attention))
                    }
                    Typed::Nothing => continue,
                };
                if inputs.send(typing).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn obey(context: &Arc<Context>, command: Command, step: Option<Step>) -> Option<Input> {
    let console = &context.console;
    console.raw("\r\n");
    match command {
        Command::Retry => return Some(Input::Key(Key::Retry)),
        Command::Reboot => return Some(Input::Key(Key::Reboot)),
        Command::Poweroff => return Some(Input::Key(Key::Poweroff)),
        Command::Status => {
            console.line(&format!("now: {}", step.map_or("nothing", Step::title)));
            if let Some(progress) = steps::fetch_progress(context) {
                console.line(&progress);
            }
        }
        Command::Links => {
            for line in steps::describe_links().await {
                console.line(&line);
            }
        }
        Command::Log => {
            for line in console.log() {
                console.raw(&format!("  {line}\r\n"));
            }
        }
    }
    None
}
