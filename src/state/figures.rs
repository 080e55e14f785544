//! What each group has done since the start: its part of the counters of `stats`, for its own INFO and for
//! operators.
//!
//! Counting for a group costs other groups nothing and its own requests next to nothing: the server counts
//! as it always does, and what has come on since a group's clients began to run is that group's. Who runs
//! changes with the connection, not with the request.
use super::State;
use super::client::ClientId;
use super::groups::GroupId;
use super::per_group::{Divided, PerGroup};

/// One group's counters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub commands: u64,
    pub hits: u64,
    pub misses: u64,
    pub net_in: u64,
    pub net_out: u64,
    pub expired: u64,
    /// Fields of hashes.
    pub expired_members: u64,
    pub evicted: u64,
    /// Clients that came into the group.
    pub logins: u64,
}

impl Divided for Figures {
    fn fresh(&self) -> Figures {
        Figures::default()
    }
}

/// The counters of all groups but the default one, whose own nobody asks for.
#[derive(Default)]
pub struct GroupFigures {
    all: PerGroup<Figures>,
    /// Whose requests run, and what the server had counted when they began.
    running: GroupId,
    began: Figures,
}

impl GroupFigures {
    /// The counters of a group, if it has done anything.
    pub fn get_mut(&mut self, group: GroupId) -> Option<&mut Figures> {
        match group.is_default() {
            true => None,
            false => Some(self.all.of_mut(group)),
        }
    }
}

impl State {
    /// Requests of this client's group run next.
    #[inline]
    pub fn count_for(&mut self, group: GroupId) {
        if group != self.figures.running {
            self.settle_figures(group);
        }
    }

    /// Counts a request that ends while, maybe, another group's runs.
    pub fn count_ended_for(&mut self, group: GroupId) {
        let running = self.figures.running;
        self.count_for(group);
        self.stats.commands_processed += 1;
        self.count_for(running);
    }

    /// A client that runs has come into another group.
    pub(super) fn count_login(&mut self, who: ClientId, group: GroupId) {
        if let Some(figures) = self.figures.get_mut(group) {
            figures.logins += 1;
        }
        if self.running == Some(who) {
            self.count_for(group);
        }
    }

    /// Gives the group that has run what was counted, and goes on for another one.
    #[cold]
    fn settle_figures(&mut self, next: GroupId) {
        let now = Figures {
            commands: self.stats.commands_processed,
            hits: self.stats.hits,
            misses: self.stats.misses,
            net_in: self.stats.net_in,
            ..Figures::default()
        };
        let figures = &mut self.figures;
        let (running, began) = (figures.running, figures.began);
        if let Some(own) = figures.get_mut(running) {
            own.commands += now.commands.saturating_sub(began.commands);
            own.hits += now.hits.saturating_sub(began.hits);
            own.misses += now.misses.saturating_sub(began.misses);
            own.net_in += now.net_in.saturating_sub(began.net_in);
        }
        (figures.running, figures.began) = (next, now);
    }

    /// A group's counters as of now.
    pub fn figures_of(&self, group: GroupId) -> Figures {
        let mut shown = *self.figures.all.of(group);
        if group == self.figures.running && !group.is_default() {
            let (stats, began) = (&self.stats, &self.figures.began);
            shown.commands += stats.commands_processed.saturating_sub(began.commands);
            shown.hits += stats.hits.saturating_sub(began.hits);
            shown.misses += stats.misses.saturating_sub(began.misses);
            shown.net_in += stats.net_in.saturating_sub(began.net_in);
        }
        shown
    }

    /// CONFIG RESETSTAT: all counters begin anew.
    pub fn reset_stats(&mut self) {
        self.stats.reset();
        let running = self.figures.running;
        self.figures = GroupFigures::default();
        self.figures.running = running;
    }

    /// A group goes.
    pub(super) fn forget_figures(&mut self, group: GroupId) {
        if self.figures.running == group {
            self.settle_figures(GroupId::DEFAULT);
        }
        self.figures.all.take(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::config::Config;

    #[test]
    fn a_group_is_counted_while_it_runs() {
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(1_000_000));
        let mut state = State::new(Config::default(), rng, clock, 1, 1.0);
        let run = |state: &mut State, group, commands| {
            state.count_for(GroupId(group));
            state.stats.commands_processed += commands;
        };
        run(&mut state, 0, 5);
        run(&mut state, 2, 7);
        assert_eq!(state.figures_of(GroupId(2)).commands, 7);
        run(&mut state, 2, 1);
        run(&mut state, 0, 100);
        run(&mut state, 3, 10);
        run(&mut state, 2, 2);
        let shown = |state: &State| [0, 2, 3].map(|g| state.figures_of(GroupId(g)).commands);
        assert_eq!(shown(&state), [0, 10, 10]);
        state.reset_stats();
        state.stats.commands_processed += 4;
        assert_eq!(shown(&state), [0, 4, 0]);
        state.forget_figures(GroupId(2));
        assert_eq!(shown(&state), [0, 0, 0]);
    }
}
