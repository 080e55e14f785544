//! Logins that take time: which passwords the background thread is to check or derive, who waits for it, and
//! what it found.
//!
//! A client that asks for such work is parked, and its request runs again when the work is done. Clients that
//! ask the same share one piece of work, so that a pool of connections costs one derivation. What was found to
//! fit is remembered under a digest with a key of this process, so that the next login with it is answered at
//! once; what did not fit is not, so that guesses stay dear. Both the work that waits and what is remembered
//! are bounded.
//!
//! One piece of work is under way at a time, and who is next is decided when it is done: operators who make
//! users, then one login of each origin in turn, so that whoever floods waits behind itself. Nothing is done for
//! clients that have gone.
use super::lockout::{Lockouts, Origin};
use super::password::{self, Cost, Fit, NotDerived, PasswordHash};
use crate::base::rng::os_bytes;
use crate::state::client::ClientId;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Pieces of work that may wait; beyond that, an origin may have one, and up to twice as many do so.
const WAITING_MAX: usize = 512;
/// Logins that one origin may have waiting.
const WAITING_MAX_EACH: usize = 64;
/// Passwords that are remembered to fit.
const PROOFS_MAX: usize = 4096;

/// A password under way: wiped when it is dropped.
pub type Password = Zeroizing<Vec<u8>>;

/// A password's digest with this process's key: says nothing to whoever does not know the key.
type Mark = [u8; 32];

/// What the background thread is asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Work {
    /// Passwords with the PHC strings that each may fit.
    pub verify: Vec<(Vec<Box<str>>, Password)>,
    /// Passwords to be derived anew.
    pub derive: Vec<Password>,
    pub cost: Option<Cost>,
    /// Of somebody who may make users: goes first.
    pub by_operator: bool,
}

/// One piece of work.
pub struct Task {
    number: u64,
    work: Work,
}

/// What came of one.
pub struct Done {
    number: u64,
    found: Result<Found, NotDerived>,
}

struct Found {
    /// Which PHC string each password fits.
    verified: Vec<Option<usize>>,
    derived: Vec<PasswordHash>,
}

impl Task {
    /// Does the work, which takes tens of milliseconds for each password: on the background thread.
    pub fn run(self) -> Done {
        Done {
            number: self.number,
            found: self.work.run(),
        }
    }
}

impl Work {
    fn run(&self) -> Result<Found, NotDerived> {
        let verify = |(phc, password): &(Vec<Box<str>>, Password)| password::verify(phc, password);
        let derive = |password: &Password| match self.cost {
            Some(cost) => password::derive(password, cost),
            None => Ok(PasswordHash::sha256(password)),
        };
        Ok(Found {
            verified: self.verify.iter().map(verify).collect::<Result<_, _>>()?,
            derived: self.derive.iter().map(derive).collect::<Result<_, _>>()?,
        })
    }
}

/// Those who wait for one piece of work.
struct Waiting {
    who: VecDeque<ClientId>,
    origin: Option<Origin>,
    work: Work,
}

/// In which order work is done.
#[derive(Default)]
struct Queue {
    operators: VecDeque<u64>,
    /// The origin whose turn it is stands in front.
    turns: VecDeque<(Option<Origin>, VecDeque<u64>)>,
}

impl Queue {
    fn push(&mut self, number: u64, origin: Option<Origin>, by_operator: bool) {
        if by_operator {
            return self.operators.push_back(number);
        }
        match self.turns.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, numbers)) => numbers.push_back(number),
            None => self.turns.push_back((origin, VecDeque::from([number]))),
        }
    }

    fn next(&mut self) -> Option<u64> {
        if let Some(number) = self.operators.pop_front() {
            return Some(number);
        }
        let (origin, mut numbers) = self.turns.pop_front()?;
        let next = numbers.pop_front();
        if !numbers.is_empty() {
            self.turns.push_back((origin, numbers));
        }
        next
    }

    fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        self.operators.retain(|number| stays(*number));
        self.turns.retain_mut(|(_, numbers)| {
            numbers.retain(|number| stays(*number));
            !numbers.is_empty()
        });
    }
}

/// What holds while the request of one who waited runs again.
#[derive(Default)]
pub struct Settled {
    /// What was looked at, whatever came of it.
    tried: HashSet<(Mark, Box<str>)>,
    derived: HashMap<Mark, PasswordHash>,
    failed: Option<NotDerived>,
    by_operator: bool,
}

/// Why a request cannot wait for work.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// Failed logins, and those under way.
pub struct Logins {
    pub lockouts: Lockouts,
    key: [u8; 32],
    proofs: HashMap<Box<str>, Mark>,
    waiting: HashMap<u64, Waiting>,
    /// What waits for the background thread, and what that has.
    queue: Queue,
    underway: Option<u64>,
    /// Work that is done, with those whose requests are to run again.
    finished: VecDeque<(Settled, VecDeque<ClientId>)>,
    settled: Settled,
    last_number: u64,
}

impl Default for Logins {
    fn default() -> Self {
        let mut key = [0; 32];
        os_bytes(&mut key).expect("the kernel gives random bytes once it is up");
        Self {
            lockouts: Lockouts::default(),
            key,
            proofs: HashMap::new(),
            waiting: HashMap::new(),
            queue: Queue::default(),
            underway: None,
            finished: VecDeque::new(),
            settled: Settled::default(),
            last_number: 0,
        }
    }
}

impl Logins {
    fn mark(&self, password: &[u8]) -> Mark {
        Sha256::new()
            .chain_update(self.key)
            .chain_update(password)
            .finalize()
            .into()
    }

    /// Does the password fit one of these, as far as is known? What is to be asked of the background thread
    /// does not contain what it was asked before by the request that runs again.
    pub fn fits(&self, known: &[PasswordHash], given: &[u8]) -> Fit {
        let mut open = match password::check(known, given) {
            Fit::Ask(open) => open,
            told => return told,
        };
        let mark = self.mark(given);
        let proven = |phc: &str| {
            let proof = self.proofs.get(phc);
            proof.is_some_and(|proof| bool::from(proof.ct_eq(&mark)))
        };
        if open.iter().any(|phc| proven(phc)) {
            return Fit::Yes;
        }
        open.retain(|phc| !self.settled.tried.contains(&(mark, phc.clone())));
        match open.is_empty() {
            true => Fit::No,
            false => Fit::Ask(open),
        }
    }

    /// Which of these PHC strings is known to fit.
    pub fn fitting<'p>(&self, known: &'p [PasswordHash], given: &[u8]) -> Option<&'p PasswordHash> {
        let mark = self.mark(given);
        known.iter().find(|hash| match hash {
            PasswordHash::Argon2id(phc) => {
                let proof = self.proofs.get(phc);
                proof.is_some_and(|proof| bool::from(proof.ct_eq(&mark)))
            }
            PasswordHash::Sha256(_) => false,
        })
    }

    /// A password as it was derived for the request that runs again.
    pub fn derived(&self, given: &[u8]) -> Option<&PasswordHash> {
        match self.settled.derived.is_empty() {
            true => None,
            false => self.settled.derived.get(&self.mark(given)),
        }
    }

    /// Why the work failed that the request which runs again waited for.
    pub fn failure(&self) -> Option<&NotDerived> {
        self.settled.failed.as_ref()
    }

    /// A client waits for work: it is to be parked.
    pub fn ask(
        &mut self,
        who: ClientId,
        origin: Option<Origin>,
        work: Work,
    ) -> Result<(), TooMany> {
        let same = |waiting: &&mut Waiting| waiting.work == work && waiting.origin == origin;
        if let Some(waiting) = self.waiting.values_mut().find(same) {
            waiting.who.push_back(who);
            return Ok(());
        }
        let alike = |waiting: &&Waiting| waiting.work.by_operator == work.by_operator;
        let alike = self.waiting.values().filter(alike);
        let (mut all, mut theirs) = (0, 0);
        for waiting in alike {
            all += 1;
            theirs += usize::from(waiting.origin == origin);
        }
        let too_many = match work.by_operator {
            true => all >= WAITING_MAX,
            false => {
                theirs >= WAITING_MAX_EACH
                    || all >= WAITING_MAX && theirs > 0
                    || all >= 2 * WAITING_MAX
            }
        };
        if too_many {
            return Err(TooMany);
        }
        self.last_number += 1;
        let number = self.last_number;
        self.queue.push(number, origin, work.by_operator);
        let waiting = Waiting {
            who: VecDeque::from([who]),
            origin,
            work,
        };
        self.waiting.insert(number, waiting);
        Ok(())
    }

    /// The next piece of work for the background thread; none while that has one. `waits` tells who is still
    /// there to wait.
    pub fn next_task(&mut self, waits: impl Fn(ClientId) -> bool) -> Option<Task> {
        while self.underway.is_none() {
            let number = self.queue.next()?;
            let Some(waiting) = self.waiting.get_mut(&number) else {
                continue;
            };
            waiting.who.retain(|who| waits(*who));
            if waiting.who.is_empty() {
                self.waiting.remove(&number);
                continue;
            }
            self.underway = Some(number);
            let work = waiting.work.clone();
            return Some(Task { number, work });
        }
        None
    }

    /// Gives up the work that nobody waits for any more: makes room for those who come.
    pub fn forget_gone(&mut self, waits: impl Fn(ClientId) -> bool) {
        let underway = self.underway;
        self.waiting.retain(|number, waiting| {
            waiting.who.retain(|who| waits(*who));
            !waiting.who.is_empty() || underway == Some(*number)
        });
        let waiting = &self.waiting;
        self.queue.retain(|number| waiting.contains_key(&number));
    }

    /// What stands in for the password of somebody there is not: nothing fits it.
    pub fn nobody(&self, cost: Cost) -> [PasswordHash; 1] {
        [password::unfitting(cost, &self.key)]
    }

    /// Is there work under way, or somebody to be woken for it?
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || self.has_finished()
    }

    /// Is there somebody whose work is done?
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// How many pieces of work wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A piece of work is done.
    pub fn done(&mut self, done: Done) {
        self.underway = self.underway.filter(|number| *number != done.number);
        if let Some(waiting) = self.waiting.remove(&done.number) {
            let settled = self.learn(&waiting.work, done.found);
            self.finished.push_back((settled, waiting.who));
        }
    }

    fn learn(&mut self, work: &Work, found: Result<Found, NotDerived>) -> Settled {
        let mut settled = Settled {
            by_operator: work.by_operator,
            ..Settled::default()
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                settled.failed = Some(error);
                return settled;
            }
        };
        for ((phc, password), fits) in work.verify.iter().zip(found.verified) {
            let mark = self.mark(password);
            if let Some(phc) = fits.and_then(|at| phc.get(at)) {
                self.remember(phc.clone(), mark);
            }
            let tried = phc.iter().map(|phc| (mark, phc.clone()));
            settled.tried.extend(tried);
        }
        for (password, hash) in work.derive.iter().zip(found.derived) {
            self.know(&hash, password);
            settled.derived.insert(self.mark(password), hash);
        }
        settled
    }

    /// This password fits this hash: whoever derived it knows.
    pub fn know(&mut self, hash: &PasswordHash, given: &[u8]) {
        if let PasswordHash::Argon2id(phc) = hash {
            let mark = self.mark(given);
            self.remember(phc.clone(), mark);
        }
    }

    fn remember(&mut self, phc: Box<str>, mark: Mark) {
        if self.proofs.len() >= PROOFS_MAX
            && let Some(any) = self.proofs.keys().next().cloned()
        {
            self.proofs.remove(&any);
        }
        self.proofs.insert(phc, mark);
    }

    /// The next client whose request is to run again: what was found for it holds until `settle_down`.
    /// `logins`: nobody else's, since a script runs.
    pub fn next_finished(&mut self, logins: bool) -> Option<ClientId> {
        loop {
            if logins {
                let mut all = self.finished.iter();
                let login = all.position(|(settled, _)| !settled.by_operator)?;
                self.finished.swap(0, login);
            }
            let (_, who) = self.finished.front_mut()?;
            let Some(who) = who.pop_front() else {
                self.finished.pop_front();
                continue;
            };
            let settled = self.finished.front_mut().map(|(settled, _)| settled);
            self.settled = settled.map(std::mem::take).unwrap_or_default();
            return Some(who);
        }
    }

    /// The request has run: what was found is for those who asked the same.
    pub fn settle_down(&mut self) {
        let settled = std::mem::take(&mut self.settled);
        if let Some((place, who)) = self.finished.front_mut()
            && !who.is_empty()
        {
            *place = settled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost {
        memory_kib: 64,
        passes: 1,
    };

    fn who(slot: u32) -> ClientId {
        ClientId {
            slot,
            serial: slot.into(),
        }
    }

    fn password(text: &str) -> Password {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    fn login(open: Vec<Box<str>>, text: &str) -> Work {
        Work {
            verify: vec![(open, password(text))],
            ..Work::default()
        }
    }

    fn open(fit: Fit) -> Vec<Box<str>> {
        match fit {
            Fit::Ask(open) => open,
            told => panic!("{told:?}"),
        }
    }

    /// Everything that waits is done; in which order.
    fn work_off(logins: &mut Logins) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(task) = logins.next_task(|_| true) {
            order.push(task.number);
            assert!(logins.next_task(|_| true).is_none(), "one at a time");
            logins.done(task.run());
        }
        order
    }

    #[test]
    fn a_right_password_is_checked_once_and_a_wrong_one_each_time() {
        let mut logins = Logins::default();
        let known = [password::derive(b"right", CHEAP).expect("derived")];
        for (slot, text) in ["right", "wrong", "right"].into_iter().enumerate() {
            let open = open(logins.fits(&known, text.as_bytes()));
            logins
                .ask(who(slot as u32), None, login(open, text))
                .expect("there is room");
        }
        assert_eq!(logins.waiting(), 2, "the same is asked once");
        work_off(&mut logins);
        let mut fits = Vec::new();
        while let Some(who) = logins.next_finished(false) {
            let text = ["right", "wrong", "right"][who.slot as usize];
            fits.push((who.slot, logins.fits(&known, text.as_bytes())));
            logins.settle_down();
        }
        assert_eq!(fits, [(0, Fit::Yes), (2, Fit::Yes), (1, Fit::No)]);
        assert!(!logins.is_busy());
        assert_eq!(logins.fits(&known, b"right"), Fit::Yes);
        assert_eq!(open(logins.fits(&known, b"wrong")).len(), 1);
        // Another user's password is another one, though it be the same.
        let other = [password::derive(b"right", CHEAP).expect("derived")];
        assert_eq!(open(logins.fits(&other, b"right")).len(), 1);
    }

    #[test]
    fn what_is_derived_is_there_for_those_who_asked() {
        let mut logins = Logins::default();
        let work = Work {
            derive: vec![password("new")],
            cost: Some(CHEAP),
            ..Work::default()
        };
        for slot in 0..2 {
            logins.ask(who(slot), None, work.clone()).expect("room");
        }
        assert_eq!(logins.derived(b"new"), None);
        work_off(&mut logins);
        for slot in 0..2 {
            assert_eq!(logins.next_finished(false), Some(who(slot)));
            let hash = logins.derived(b"new").expect("derived").clone();
            assert_eq!(logins.fits(&[hash], b"new"), Fit::Yes);
            logins.settle_down();
            assert_eq!(logins.derived(b"new"), None);
        }
        assert_eq!(logins.next_finished(false), None);
    }

    #[test]
    fn work_that_waits_is_bounded_for_all_and_for_each() {
        let mut logins = Logins::default();
        let one = Origin::parse(b"10.0.0.1");
        let mut n = 0;
        let mut ask = |logins: &mut Logins, origin| {
            n += 1;
            let phc = vec![Box::from("phc")];
            logins.ask(who(n), origin, login(phc, &n.to_string()))
        };
        for _ in 0..WAITING_MAX_EACH {
            assert_eq!(ask(&mut logins, one), Ok(()));
        }
        assert_eq!(ask(&mut logins, one), Err(TooMany));
        for net in 2..200 {
            for _ in 0..5 {
                let origin = Origin::parse(format!("10.0.0.{net}").as_bytes());
                let _ = ask(&mut logins, origin);
            }
        }
        // Where there are too many, whoever has none waiting may have one.
        assert!(logins.waiting() > WAITING_MAX);
        assert_eq!(ask(&mut logins, Some(Origin::Unix)), Ok(()));
        assert_eq!(ask(&mut logins, Some(Origin::Unix)), Err(TooMany));
        for net in 0..2 * WAITING_MAX {
            let origin = format!("10.1.{}.{}", net / 256, net % 256);
            let _ = ask(&mut logins, Origin::parse(origin.as_bytes()));
        }
        assert_eq!(logins.waiting(), 2 * WAITING_MAX);
        assert_eq!(ask(&mut logins, Origin::parse(b"10.2.0.1")), Err(TooMany));
        // Operators have room of their own.
        let work = Work {
            derive: vec![password("new")],
            by_operator: true,
            ..Work::default()
        };
        assert_eq!(logins.ask(who(9999), one, work), Ok(()));
    }

    #[test]
    fn origins_take_turns_and_whoever_has_gone_costs_nothing() {
        let mut logins = Logins::default();
        let (flood, other) = (Origin::parse(b"10.0.0.1"), Origin::parse(b"10.0.0.2"));
        for n in 1..=20 {
            let _ = logins.ask(who(n), flood, login(Vec::new(), &n.to_string()));
        }
        // 21 to 23: others, who come last, and an operator.
        let _ = logins.ask(who(21), other, login(Vec::new(), "a"));
        let _ = logins.ask(who(22), other, login(Vec::new(), "b"));
        let make = Work {
            verify: vec![(Vec::new(), password("old"))],
            by_operator: true,
            ..Work::default()
        };
        let _ = logins.ask(who(23), flood, make);
        let there = |who: ClientId| who.slot <= 3 || who.slot > 20;
        let mut order = Vec::new();
        while let Some(task) = logins.next_task(there) {
            order.push(task.number);
            logins.done(task.run());
        }
        assert_eq!(order, [23, 1, 21, 2, 22, 3], "no work for 4 to 20");
        assert_eq!(logins.waiting(), 0);
        // Those are who is woken; while a script runs, only who comes to log in.
        assert_eq!(logins.next_finished(true), Some(who(1)));
        logins.settle_down();
        assert_eq!(logins.next_finished(false), Some(who(23)));
        logins.settle_down();
        // Work that is given up makes room at once.
        for n in 0..WAITING_MAX_EACH as u32 {
            assert_eq!(
                logins.ask(who(n), flood, login(Vec::new(), &n.to_string())),
                Ok(())
            );
        }
        assert_eq!(
            logins.ask(who(99), flood, login(Vec::new(), "x")),
            Err(TooMany)
        );
        logins.forget_gone(|who| who.slot == 0);
        assert_eq!((logins.waiting(), logins.queue.turns[0].1.len()), (1, 1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut logins = Logins::default();
        for n in 0..PROOFS_MAX + 10 {
            logins.remember(n.to_string().into(), [0; 32]);
        }
        assert_eq!(logins.proofs.len(), PROOFS_MAX);
    }
}
