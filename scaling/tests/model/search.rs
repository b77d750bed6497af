//! The search: every state that can be reached, breadth first, so that the first violation has a
//! shortest trace.
//!
//! ```text
//!   frontier ─► a state ─► each step ─► checks ─► fingerprint ─► new? ─► end of the frontier
//!                                                                └────► how it was reached
//! ```
//!
//! Of a state that has left the frontier there remain its fingerprint and how it was reached: the
//! number of the state before and which of its steps it was, five bytes. A trace is that path taken
//! once more from the beginning.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::fingerprint::{Visited, fingerprint};
use crate::setting::Setting;
use crate::step::Step;
use crate::watch::Violation;
use crate::world::{Ground, World};

/// How often a long search says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What a search without a violation has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// Steps taken, those to states already met too.
    pub(crate) steps: usize,
    /// States in which all is done.
    pub(crate) ends: usize,
    /// Different remainders that crashes leave.
    pub(crate) restarts: usize,
}

/// A shortest way to a violation.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) violation: Violation,
    /// The steps in words.
    pub(crate) trace: Vec<String>,
    pub(crate) states: usize,
}

/// Searches all of a setting's states.
pub(crate) fn search(setting: &Setting) -> Result<Explored, Box<Counterexample>> {
    let mut search = Search::new(setting);
    let outcome = search.run();
    search.say("in all");
    match outcome {
        Ok(()) => Ok(search.explored),
        Err((path, violation)) => Err(Box::new(search.counterexample(&path, violation))),
    }
}

struct Search {
    ground: Rc<Ground>,
    visited: Visited,
    crashes: Visited,
    /// By state: the state before it and the place of the step among its steps.
    reached: Vec<(u32, u8)>,
    frontier: VecDeque<World>,
    explored: Explored,
    started: Instant,
    said: Duration,
}

/// From which state by which of its steps a violation was met; no step if the state itself is one.
type Met = (u32, Option<u8>);

impl Search {
    fn new(setting: &Setting) -> Search {
        Search {
            ground: Rc::new(Ground::new(setting.clone())),
            visited: Visited::new(),
            crashes: Visited::new(),
            reached: Vec::new(),
            frontier: VecDeque::new(),
            explored: Explored::default(),
            started: now(),
            said: Duration::ZERO,
        }
    }

    fn run(&mut self) -> Result<(), (Met, Violation)> {
        let first = World::first(&self.ground).expect("a beginning without rows");
        self.meet(first, (0, 0));
        let mut number = 0;
        while let Some(world) = self.frontier.pop_front() {
            self.follow(&world, number)?;
            number += 1;
            if number % 4096 == 0 && self.started.elapsed() > self.said + PROGRESS_EVERY {
                self.said = self.started.elapsed();
                self.say("so far");
            }
        }
        Ok(())
    }

    /// Takes every step that can follow a state.
    fn follow(&mut self, world: &World, number: u32) -> Result<(), (Met, Violation)> {
        let steps = world.steps();
        if world.finished() {
            self.explored.ends += 1;
        } else if steps == [Step::Crash] {
            return Err(((number, None), Violation("deadlock".to_owned())));
        }
        for (place, step) in steps.into_iter().enumerate() {
            let place = u8::try_from(place).expect("a state has few steps");
            if step == Step::Crash && !self.crashes.insert(fingerprint(&world.remains())) {
                continue;
            }
            match world.after(step) {
                Ok(next) => self.meet(next, (number, place)),
                Err(violation) => return Err(((number, Some(place)), violation)),
            }
        }
        Ok(())
    }

    fn meet(&mut self, world: World, reached: (u32, u8)) {
        self.explored.steps += 1;
        if self.visited.insert(fingerprint(&world)) {
            self.reached.push(reached);
            self.frontier.push_back(world);
        }
        self.explored.states = self.visited.len();
        self.explored.restarts = self.crashes.len();
    }

    /// Walks the path to a violation once more, for its words.
    fn counterexample(&self, met: &Met, violation: Violation) -> Counterexample {
        let (mut number, last) = *met;
        let mut path = Vec::from_iter(last);
        while number != 0 {
            let (before, place) = self.reached[number as usize];
            path.push(place);
            number = before;
        }
        let mut world = World::first(&self.ground).expect("it was there before");
        let mut trace = Vec::new();
        for place in path.into_iter().rev() {
            let step = world.steps()[usize::from(place)];
            trace.push(world.words(step));
            match world.after(step) {
                Ok(next) => world = next,
                Err(_) => break,
            }
        }
        Counterexample {
            violation,
            trace,
            states: self.visited.len(),
        }
    }

    #[expect(
        clippy::print_stdout,
        reason = "progress is what one looks at while it runs"
    )]
    fn say(&self, how_far: &str) {
        let Explored {
            states,
            steps,
            ends,
            restarts,
        } = self.explored;
        println!(
            "{}: {how_far} {states} states, {steps} steps, {ends} ends, {restarts} restarts, frontier {}, {} s",
            self.ground.setting.name,
            self.frontier.len(),
            self.started.elapsed().as_secs()
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time is only said, nothing depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
