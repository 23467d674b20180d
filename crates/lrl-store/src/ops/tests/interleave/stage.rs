//! A stage on which only one actor moves at a time, by one call of its storage: so that a schedule decides how runs of the engine interleave,
//! and the same schedule gives the same story again.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::backend::{Backend, Capabilities, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};

/// Who moves when. As text: actors by commas, switches as `step:actor`, the kill as `actor:step`, with `;` between.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Schedule {
    /// Actors by who goes on when the one that moves has ended.
    pub order: Vec<usize>,
    /// At the step of this number this actor goes on.
    pub switches: Vec<(usize, usize)>,
    /// This actor's storage stops working at this step of all.
    pub kill: Option<(usize, usize)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order: Vec<String> = self.order.iter().map(usize::to_string).collect();
        let pair = |(a, b): &(usize, usize)| format!("{a}:{b}");
        let switches: Vec<String> = self.switches.iter().map(pair).collect();
        let kill: Vec<String> = self.kill.iter().map(pair).collect();
        write!(f, "{};{};{}", order.join(","), switches.join(","), kill.join(","))
    }
}

impl Schedule {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split(';').collect();
        let words = |n: usize| parts[n].split(',').filter(|word| !word.is_empty());
        let number = |text: &str| text.trim().parse::<usize>().unwrap();
        let pair = |word: &str| word.split_once(':').map(|(a, b)| (number(a), number(b))).unwrap();
        Self {
            order: words(0).map(number).collect(),
            switches: words(1).map(pair).collect(),
            kill: words(2).map(pair).next(),
        }
    }
}

#[derive(Default)]
struct State {
    turn: Option<usize>,
    waiting: Vec<usize>,
    /// Whether what each waits for is to read an object.
    reads: Vec<bool>,
    done: Vec<bool>,
    dead: Vec<bool>,
}

/// See the module.
#[derive(Default)]
pub struct Stage {
    state: Mutex<State>,
    changed: Condvar,
}

impl Stage {
    pub fn new(actors: usize) -> Arc<Self> {
        let no = || vec![false; actors];
        let state = State { turn: None, waiting: vec![0; actors], reads: no(), done: no(), dead: no() };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits for the actor's turn.
    fn step(&self, actor: usize, reads: bool) -> Result<()> {
        let mut state = self.state();
        state.waiting[actor] += 1;
        state.reads[actor] = reads;
        self.changed.notify_all();
        while state.turn != Some(actor) {
            state = self.changed.wait(state).unwrap();
        }
        state.turn = None;
        state.waiting[actor] -= 1;
        // Another thread of this actor may be waiting already.
        self.changed.notify_all();
        match state.dead[actor] {
            true => Err(Error::Io { op: "use", path: "memory".into(), source: std::io::Error::other("killed") }),
            false => Ok(()),
        }
    }

    /// Says that an actor has nothing more to do when it is dropped.
    pub fn part(self: &Arc<Self>, actor: usize) -> Part {
        Part(Arc::clone(self), actor)
    }

    /// Lets all actors play their parts. Returns the numbers of the steps before which a switch may matter: an actor that reads one
    /// immutable object after another sees the same, wherever in between others move.
    pub fn play(&self, schedule: &Schedule) -> Vec<usize> {
        let mut now = schedule.order[0];
        let mut points = Vec::new();
        let mut last = (now, false);
        for step in 0.. {
            let mut state = self.state();
            while state.turn.is_some() || (0..state.done.len()).any(|n| !state.done[n] && state.waiting[n] == 0) {
                state = self.changed.wait(state).unwrap();
            }
            if let Some((_, actor)) = schedule.switches.iter().find(|(at, _)| *at == step) {
                now = *actor;
            }
            if state.done[now] {
                let Some(next) = schedule.order.iter().find(|n| !state.done[**n]) else { return points };
                now = *next;
            }
            if schedule.kill.is_some_and(|(_, at)| at <= step) {
                let (actor, _) = schedule.kill.unwrap();
                state.dead[actor] = true;
            }
            let this = (now, state.reads[now]);
            if this != last || !this.1 {
                points.push(step);
            }
            last = this;
            state.turn = Some(now);
            self.changed.notify_all();
        }
        points
    }
}

/// An actor's part; it ends when this is dropped.
pub struct Part(Arc<Stage>, usize);

impl Drop for Part {
    fn drop(&mut self) {
        self.0.state().done[self.1] = true;
        self.0.changed.notify_all();
    }
}

/// A bucket as one actor sees it: no locks, each call a step.
pub struct Stepped {
    pub below: Arc<dyn Backend>,
    pub stage: Arc<Stage>,
    pub actor: usize,
    pub cache: Option<PathBuf>,
}

impl Stepped {
    fn call<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stage.step(self.actor, false)?;
        act()
    }

    fn look<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stage.step(self.actor, true)?;
        act()
    }
}

impl Backend for Stepped {
    fn location(&self) -> String {
        "bucket".into()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.look(|| self.below.read(name))
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.look(|| self.below.read_range(name, offset, len))
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.look(|| self.below.len(name))
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.call(|| self.below.put(name, source))
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.call(|| self.below.put_if_absent(name, bytes))
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.below.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.call(|| self.below.list(prefix, visit))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.call(|| self.below.remove(name))
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        self.cache.clone()
    }
}
