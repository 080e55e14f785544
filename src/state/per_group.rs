//! What each group has of its own: subscriptions, scripts, logs and the like.
//!
//! Group 0's share lies where it is used, as if there were no groups. Those of others are made when they
//! are first needed and cost a pointer until then; to read, one that was never made looks as one in
//! which nothing is. A share names its group by its place alone: nothing in it leads to another's.
use super::State;
use super::groups::GroupId;

/// A thing of which each group has its own.
pub trait Divided {
    /// The share of a group that has not used it yet.
    fn fresh(&self) -> Self;
}

/// The shares of all groups.
pub struct PerGroup<T> {
    default: T,
    /// What a group sees that has none.
    empty: T,
    /// By number, from 1 on.
    others: Vec<Option<Box<T>>>,
}

impl<T: Divided + Default> Default for PerGroup<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: Divided> PerGroup<T> {
    /// Group 0's share; nobody else has one.
    pub fn new(default: T) -> Self {
        Self {
            empty: default.fresh(),
            default,
            others: Vec::new(),
        }
    }

    /// A group's share.
    #[inline]
    pub fn of(&self, group: GroupId) -> &T {
        match group.0.checked_sub(1) {
            None => &self.default,
            Some(at) => self.other(at as usize).unwrap_or(&self.empty),
        }
    }

    /// The same for changing; made where there is none.
    #[inline]
    pub fn of_mut(&mut self, group: GroupId) -> &mut T {
        match group.0.checked_sub(1) {
            None => &mut self.default,
            Some(at) => self.made(at as usize),
        }
    }

    /// The same, if there is one.
    pub fn get_mut(&mut self, group: GroupId) -> Option<&mut T> {
        match group.0.checked_sub(1) {
            None => Some(&mut self.default),
            Some(at) => self.others.get_mut(at as usize)?.as_deref_mut(),
        }
    }

    /// Every share there is, group 0's first.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &T)> {
        let others = self.others.iter().enumerate().filter_map(|(at, share)| {
            let share = share.as_deref()?;
            Some((GroupId(at as u32 + 1), share))
        });
        std::iter::once((GroupId::DEFAULT, &self.default)).chain(others)
    }

    /// The same for changing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (GroupId, &mut T)> {
        let others = self.others.iter_mut().enumerate();
        let others = others.filter_map(|(at, share)| {
            let share = share.as_deref_mut()?;
            Some((GroupId(at as u32 + 1), share))
        });
        std::iter::once((GroupId::DEFAULT, &mut self.default)).chain(others)
    }

    /// Takes a group's share away, all that is in it included; never group 0's.
    pub fn take(&mut self, group: GroupId) -> Option<Box<T>> {
        let at = group.0.checked_sub(1)? as usize;
        let share = self.others.get_mut(at)?.take();
        while matches!(self.others.last(), Some(None)) {
            self.others.pop();
        }
        share
    }

    fn other(&self, at: usize) -> Option<&T> {
        self.others.get(at)?.as_deref()
    }

    #[cold]
    fn made(&mut self, at: usize) -> &mut T {
        if self.others.len() <= at {
            self.others.resize_with(at + 1, || None);
        }
        let default = &self.default;
        self.others[at].get_or_insert_with(|| Box::new(default.fresh()))
    }
}

impl State {
    /// A group goes, with everything of its own besides keys; its clients have ended or left.
    pub fn forget_shares(&mut self, group: GroupId) {
        self.forget_topics(group);
        self.forget_tracking(group);
        self.forget_figures(group);
        self.libraries.take(group);
        self.scripts.forget(group);
        self.commandlog.forget(group);
        self.hotkeys.forget(group);
        self.acl_logs.forget(group);
        self.census.forget(group);
        self.stats.errors.take(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list under a key that all shares have.
    struct Share(u8, Vec<&'static str>);

    impl Divided for Share {
        fn fresh(&self) -> Share {
            Share(self.0, Vec::new())
        }
    }

    #[test]
    fn a_share_is_made_when_it_is_first_changed() {
        let mut all = PerGroup::new(Share(7, vec!["zero"]));
        assert_eq!((all.of(GroupId(3)).0, all.of(GroupId(3)).1.len()), (7, 0));
        assert!(all.get_mut(GroupId(3)).is_none() && all.iter().count() == 1);
        all.of_mut(GroupId(3)).1.push("three");
        all.of_mut(GroupId(1)).1.push("one");
        all.of_mut(GroupId::DEFAULT).1.push("more");
        let shown = |all: &PerGroup<Share>| {
            let lists = all.iter().map(|(group, share)| (group.0, share.1.concat()));
            lists.collect::<Vec<_>>()
        };
        let lists = [(0, "zeromore"), (1, "one"), (3, "three")];
        assert_eq!(
            shown(&all),
            lists.map(|(group, text)| (group, text.to_owned()))
        );
        assert!(all.take(GroupId::DEFAULT).is_none() && all.take(GroupId(2)).is_none());
        assert!(
            all.take(GroupId(3))
                .is_some_and(|share| share.1 == ["three"])
        );
        assert!(all.of(GroupId(3)).1.is_empty() && all.others.len() == 1);
        for (_, share) in all.iter_mut() {
            share.1.clear();
        }
        assert!(all.iter().all(|(_, share)| share.1.is_empty()));
    }
}
