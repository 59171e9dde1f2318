/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One slot of a pool's table under concurrent packets, publisher and scan: does a live flow ever
 * change its backend? (The invariant of maps/table.h, maps/flow.h.) tests/check/model runs it.
 *
 *   here			in the code
 *   cur, prev, exc		struct lb_slot; `alt` is any backend that a SYN may choose
 *   ending			alt says LB_ALT_ENDING
 *   half[f], flow[f]		the flow's entries in "half_open" and "flows": a backend, or VOID, an
 *				entry whose node died or was replaced (generation)
 *   packet()			bpf/core/select.h, flow.h
 *   publisher()		userspace/agent/publish_slots.c, publish_quiet.c
 *   scanner(), clean()		userspace/agent/scan.c, grace.c
 *
 * What is left out, and why that hides nothing:
 * - A CPU remembers nothing from one packet to the next, and the packets of one flow are handled
 *   one after the other (receive-side scaling keeps a flow on one CPU). So one process a flow
 *   stands for any number of CPUs; two flows are in the program at the same time.
 * - Steps are single accesses to shared words or maps. Joined are only accesses between which
 *   nobody else can do anything that matters: a flow's entries are added by its own packets
 *   alone; a compare-and-swap with retry takes effect at one moment.
 * - Of epochs one asks only whether exc is of the current one: NEW, or OLD.
 * - No clock. What time guarantees is said instead: a flow that is silent for flow_idle loses its
 *   claim (at any time, here), entries expire of flows without a claim, and when a transition
 *   ends, every flow with a claim has sent a packet since it began (fresh); so has every flow
 *   whose SYN got no entry, since the slot said that it would end (bare). That the code's times
 *   do guarantee this is for the unit tests of publish and scan.
 * - But a packet may take any time (slow workers). What waits for packets that are under way is
 *   said: the scan (pend), the end of a transition (held), the return of a backend (seen).
 * - The moment between taking out an entry and putting it back, when it was found alive after all
 *   (scan.c, remove_entry(): counted as revived).
 * - Flows of this host (LB_BACKEND_LOCAL): their transitions end after a minute, its answers are
 *   short.
 * - A SYN that is sent again is a new attempt. If the first one had no entry and the slot changed
 *   since, they may meet different backends; the flow lives where the last one went. (Map "recent"
 *   mostly sends it where the first one went, but promises nothing.)
 *
 * -DNODES=2|3, -DMORTAL=n: backends 1 to n may die, -DFLOWS=1|2. -DNO_PROMISE: nothing is promised
 * to a flow whose SYN got no entry, and no end is told; to keep two flows small, for what is promised
 * concerns one flow and prev, which no flow writes. -DWITNESS=n asserts that what the
 * invariant is about never happens, which must fail. The other switches take out one step or change
 * one order; each must make the verification fail.
 */
#ifndef NODES
#define NODES 3
#endif
#ifndef MORTAL
#define MORTAL 2
#endif
#ifndef FLOWS
#define FLOWS 2
#endif
#ifndef WITNESS
#define WITNESS 0
#endif

#define NONE 0
#define VOID 4

#define OLD 1
#define NEW 2

/* The slot's word. Changed by publisher and scanner as a whole, exc by packets alone. */
byte cur = 1, prev, exc;
bit ending;

byte half[FLOWS], flow[FLOWS];
bit dead[4];

/* The flow's backend while the invariant protects it, else NONE: never opened, closed, silent for
 * flow_idle, its backend died, or an overflow was counted for it. */
byte own[FLOWS];
bit fresh[FLOWS]; /* has sent a packet since the transition began */
bit bare[FLOWS];  /* its SYN got no entry in a transition, and it was silent since … */
bit owed[FLOWS];  /* … which was not after the slot had said that it is ending */

/* The packet under way: */
bit busy[FLOWS];
byte to[FLOWS];	   /* the backend it goes to; as part of an entry: with its generation */
byte epoch[FLOWS]; /* the epoch it has read */
bit pend[FLOWS];   /* the grace period waits for it */
bit held[FLOWS];   /* it has read the slot as it was before the transition began */
bit seen1[FLOWS], seen2[FLOWS]; /* … before that backend died */

#define valid(e)  (e != NONE && e != VOID && !dead[e])
#define broken(e) (e == VOID || (e != NONE && dead[e]))
#define quiet(f)  (own[f] == NONE && !busy[f])

/* --- packets ---------------------------------------------------------------------------------- */

inline finish()
{
	busy[f] = 0;
	pend[f] = 0;
	held[f] = 0;
	seen1[f] = 0;
	seen2[f] = 0;
	to[f] = NONE;
	epoch[f] = NONE;
	w_cur = NONE;
	w_prev = NONE;
	w_ending = 0;
	syn = 0;
	goto next
}

/* THE INVARIANT. (VOID: the backend died while the packet was on its way to it.) */
inline deliver(b)
{
	assert(own[f] == NONE || own[f] == b || b == VOID);
	finish()
}

/* A SYN was sent to b: here the flow lives from now on. */
inline opened(b)
{
	own[f] = (b == VOID || dead[b] -> NONE : b);
	finish()
}

/* No room in "flows" for an entry that is half-open, or it was taken out: counted. */
inline overflow()
{
	own[f] = NONE;
	finish()
}

/*
 * No room for the entry of a new flow, or over the rate: it goes where its next packet will go
 * without one, or nowhere if that is not sure.
 */
inline refused()
{
#ifdef NO_PROMISE
	own[f] = NONE;
	finish()
#else
	if
#ifndef NO_DROP /* a SYN without an entry goes to prev, also when the end is near */
	:: w_ending -> own[f] = NONE; finish()
#endif
	:: else ->
		bare[f] = (w_prev != NONE);
		owed[f] = bare[f] && held[f];
		to[f] = (w_prev -> w_prev : w_cur);
		opened(to[f])
	fi
#endif
}

/* The same for a flow of prev that should be learned: the transition goes on until the flow is
 * (publish_end_transitions()). Nothing is promised if it ended under the packet. */
inline unlearned()
{
#ifndef UNLEARNED_LOST /* the transition ends all the same */
	fresh[f] = 0;
#endif
	if
	:: (prev -> prev : cur) == to[f] -> deliver(to[f])
	:: else -> overflow()
	fi
}

/* An entry of a dead node: answered with a reset, or taken out (on_down). No live flow meets one. */
inline meets_void(e)
{
	assert(own[f] == NONE);
	if
	:: finish()
	:: e = NONE; deliver(w_cur)
	fi
}

/* A flow without an entry whose slot's prev died: the same. No live flow comes here. */
inline belongs_to_dead()
{
	assert(own[f] == NONE);
	if
	:: finish()
	:: deliver(w_cur)
	fi
}

/* lb_choose(): whatever the policy prefers. Returns if the flow needs an entry. */
inline choose()
{
	if
	:: to[f] = w_cur
	:: !dead[1] -> to[f] = 1
	:: !dead[2] -> to[f] = 2
#if NODES == 3
	:: !dead[3] -> to[f] = 3
#endif
	fi;
	if
#ifdef SYN_BARE /* the SYN stores nothing if prev is what a later packet would get now */
	:: to[f] == (w_prev -> w_prev : w_cur) -> opened(to[f])
#else
	:: to[f] == w_cur && !w_prev -> opened(to[f])
#endif
	:: else
	fi;
	if
	:: w_cur = NONE; w_prev = NONE; w_ending = 0; goto remember
	:: true -> refused()
	fi
}

proctype packet(byte f)
{
	byte w_cur, w_prev; /* the word as it was read */
	bit w_ending;
	bit syn;

next:
	atomic {
		busy[f] = 1;
		w_cur = cur;
		w_prev = prev;
		w_ending = ending;
		fresh[f] = (prev != NONE);
		bare[f] = 0;
		owed[f] = 0;
		if
		:: syn = 1;
			if
			:: exc -> goto syn_known
			:: !exc -> goto syn_new
			fi
		:: !prev && !exc -> deliver(w_cur)
		:: prev || exc
		fi
	}
	/* lb_select_known() */
	atomic {
		if
		:: valid(flow[f]) ->
#if WITNESS == 1 /* no live flow depends on its entry */
			assert(own[f] == NONE || prev || flow[f] == cur);
#endif
			deliver(flow[f])
		:: broken(flow[f]) -> meets_void(flow[f])
		:: flow[f] == NONE
		fi;
		if
		:: valid(half[f]) -> to[f] = half[f]; w_cur = NONE; w_prev = NONE; w_ending = 0; goto promote
		:: broken(half[f]) -> meets_void(half[f])
		:: half[f] == NONE
		fi;
		if
		:: !w_prev -> deliver(w_cur)
		:: w_prev && dead[w_prev] -> belongs_to_dead()
		:: w_prev && !dead[w_prev] -> to[f] = w_prev; w_cur = NONE; w_prev = NONE; w_ending = 0
		fi;
		if
#ifdef NO_LEARN /* a flow of prev gets no entry */
		:: deliver(to[f])
#else
		:: goto remember
		:: unlearned()
#endif
		fi
	}

syn_known: /* lb_syn_known(): the SYN stays where an entry says, or the entry goes */
	atomic {
		if
		:: valid(half[f]) -> opened(half[f])
		:: half[f] = NONE
		fi;
		if
		:: valid(flow[f]) -> opened(flow[f])
		:: flow[f] = NONE
		fi;
		choose()
	}
syn_new:
	atomic { choose() }

remember: /* lb_flow_remember() */
#ifdef MARK_FIRST /* exc is stored before the entry */
	epoch[f] = NEW;
	atomic { exc = epoch[f]; epoch[f] = NONE }
#endif
	atomic {
		if
		:: syn -> half[f] = to[f]
		:: !syn -> flow[f] = to[f]
		:: !syn -> unlearned()
		fi;
#ifdef MARK_FIRST
		goto sent
#endif
	}
	epoch[f] = NEW; /* lb_slot_mark() */
	atomic { exc = epoch[f]; epoch[f] = NONE; goto sent }

promote: /* lb_flow_promote() */
	atomic {
		if
		:: flow[f] = to[f]
		:: overflow()
		fi
	}
#ifndef PROMOTE_BARE /* promotion does not mark the slot; the order of the scan must do */
	epoch[f] = NEW;
	atomic { exc = epoch[f]; epoch[f] = NONE }
#endif
	atomic {
		half[f] = NONE;
sent:
		if
		:: syn -> opened(to[f])
		:: !syn -> deliver(to[f])
		fi
	}
}

/* --- publisher -------------------------------------------------------------------------------- */

inline void_of(e, b)
{
	if
	:: e == b -> e = VOID
	:: else
	fi
}

inline unclaim(f, b)
{
	if
	:: own[f] == b -> own[f] = NONE; bare[f] = 0; owed[f] = 0
	:: else
	fi
}

/* Packets that may have read a slot of b: it does not live again until they are gone. */
inline wait_for(b)
{
	if
	:: b == 1 -> seen1[0] = busy[0]
	:: b == 2 -> seen2[0] = busy[0]
	:: else
	fi;
#if FLOWS == 2
	if
	:: b == 1 -> seen1[1] = busy[1]
	:: b == 2 -> seen2[1] = busy[1]
	:: else
	fi
#endif
}

/* Packets that have read the slot as it was are under way. */
inline hold()
{
	held[0] = busy[0];
#if FLOWS == 2
	held[1] = busy[1]
#endif
}

/* Its flag and its generation change in one word. */
inline dies(b)
{
	dead[b] = 1;
	wait_for(b);
	void_of(half[0], b);
	void_of(flow[0], b);
	void_of(to[0], b);
	unclaim(0, b);
#if FLOWS == 2
	void_of(half[1], b);
	void_of(flow[1], b);
	void_of(to[1], b);
	unclaim(1, b)
#endif
}

inline forget_fresh()
{
	fresh[0] = 0;
#if FLOWS == 2
	fresh[1] = 0
#endif
}

inline no_end()
{
	ending = 0;
	owed[0] = 0;
#if FLOWS == 2
	owed[1] = 0
#endif
}

/* next_slot(). was_cur, was_prev: the word that is replaced. */
inline store_word(was_cur, was_prev, want)
{
	if
#ifndef NO_PREV /* the slot changes without a transition */
#ifdef PREV_REPLACED /* a slot that changes again takes its last backend for prev, not the first */
	:: was_prev && !dead[was_prev] && was_cur == want -> prev = was_prev
	:: was_prev && !dead[was_prev] && was_cur != want && !dead[was_cur] -> prev = was_cur
#else
	:: was_prev && !dead[was_prev] && (was_cur == want || was_prev != want) -> prev = was_prev
#endif
	:: was_cur != want && (!was_prev || dead[was_prev]) && !dead[was_cur] -> prev = was_cur
#endif
	:: else -> prev = NONE
	fi;
	cur = want;
	if
	:: prev != was_prev -> forget_fresh(); hold(); no_end()
	:: else
	fi;
#ifndef DEATH_ALONE /* who has read a slot of a dead node, but after its death, is not waited for */
	if
	:: was_cur != cur && dead[was_cur] -> wait_for(was_cur)
	:: else
	fi;
	if
	:: was_prev != prev && dead[was_prev] -> wait_for(was_prev)
	:: else
	fi
#endif
}

#ifdef NO_WAIT_END /* the end of a transition comes under packets of before its beginning */
#define settled(f) ((fresh[f] || own[f] == NONE) && !owed[f])
#else
#define settled(f) ((fresh[f] || own[f] == NONE) && !owed[f] && !held[f])
#endif
#if defined(NO_ENDING) || defined(NO_PROMISE) /* the end of a transition comes without a word */
#define is_told true
#else
#define is_told ending
#endif
#ifdef EARLY_END /* a transition ends before flow_idle is over */
#define may_end is_told
#elif FLOWS == 2
#define may_end (is_told && settled(0) && settled(1))
#else
#define may_end (is_told && settled(0))
#endif

#if FLOWS == 2
#define all_know(seen) (!seen[0] && !seen[1])
#define nobody_busy    (!busy[0] && !busy[1])
#else
#define all_know(seen) (!seen[0])
#define nobody_busy    (!busy[0])
#endif
/* publish_await_death(). A slot that still names it may have been read at any time. */
#ifdef NO_WAIT_ALIVE /* a backend lives again under packets of before its death */
#define may_live(b, seen) true
#else
#define may_live(b, seen) (cur == b || prev == b -> nobody_busy : all_know(seen))
#endif

proctype publisher()
{
	byte want, was_cur, was_prev;
#ifdef PUBLISH_STORE
	byte was_exc;
#endif

	do
#if MORTAL >= 1
	:: d_step { !dead[1] -> dies(1) }
	:: d_step { dead[1] && may_live(1, seen1) -> dead[1] = 0 }
#endif
#if MORTAL >= 2
	:: d_step { !dead[2] -> dies(2) }
	:: d_step { dead[2] && may_live(2, seen2) -> dead[2] = 0 }
#endif
	:: atomic {
		if
		:: !dead[1] -> want = 1
		:: !dead[2] -> want = 2
#if NODES == 3
		:: !dead[3] -> want = 3
#endif
		fi;
		was_cur = cur;
		was_prev = prev;
#ifdef PUBLISH_STORE /* the word is read and later stored, without compare-and-swap */
		was_exc = exc
	   };
	   atomic {
		exc = was_exc;
		was_exc = NONE;
#endif
		store_word(was_cur, was_prev, want);
		want = NONE;
		was_cur = NONE;
		was_prev = NONE
	   }
#ifndef NO_PROMISE
	:: d_step { (prev && !ending) ->
		ending = 1;
		hold();
		owed[0] = bare[0];
#if FLOWS == 2
		owed[1] = bare[1]
#endif
	   }
	:: d_step { ending -> no_end() } /* put off */
#endif
	:: d_step { (prev && may_end) ->
#if WITNESS == 2 /* no transition ends under a live flow of prev */
		assert(own[0] != prev);
#endif
		prev = NONE; forget_fresh(); no_end() }
	od
}

/* --- scan ------------------------------------------------------------------------------------- */

#ifdef NO_EPOCH /* exc is cleared whatever its epoch */
#define may_clear (exc != NONE)
#else
#define may_clear (exc == OLD)
#endif

inline outdate(e)
{
	if
	:: e == NEW -> e = OLD
	:: else
	fi
}

inline see(e)
{
	if
	:: e != NONE -> goto kept
	:: e == NONE
	fi
}

/* Passes. One that finds an entry leaves the slot alone. */
proctype scanner()
{
#ifdef SCAN_STORE
	byte was_cur, was_prev;
	bit old;
#endif

	do
	:: d_step {
#ifndef NO_EPOCH
		outdate(exc);
		outdate(epoch[0]);
#if FLOWS == 2
		outdate(epoch[1]);
#endif
#endif
		pend[0] = busy[0];
#if FLOWS == 2
		pend[1] = busy[1]
#endif
	   };
#ifndef NO_GRACE /* tables are read while packets have the old epoch */
	   !pend[0];
#if FLOWS == 2
	   !pend[1];
#endif
#endif
#ifdef FLOWS_FIRST /* the order of reading is turned round */
	   see(flow[0]);
#if FLOWS == 2
	   see(flow[1]);
#endif
#endif
	   see(half[0]);
#if FLOWS == 2
	   see(half[1]);
#endif
#ifndef FLOWS_FIRST
	   see(flow[0]);
#if FLOWS == 2
	   see(flow[1]);
#endif
#endif
#ifdef SCAN_STORE /* the word is read and later stored, without compare-and-swap */
	   d_step {
		was_cur = cur;
		was_prev = prev;
		old = may_clear
	   };
	   d_step {
		if
		:: old -> cur = was_cur; prev = was_prev; exc = NONE
		:: else
		fi;
		was_cur = NONE;
		was_prev = NONE;
		old = 0
	   };
#else
	   d_step {
		if
		:: may_clear ->
#if WITNESS == 3 /* exc is never cleared under a live flow in transition */
			assert(!own[0] || !prev);
#endif
			exc = NONE
		:: else
		fi
	   };
#endif
kept:	   skip
	od
}

#define gone(f, e) (broken(e) || (e != NONE && quiet(f)))

/* Flows fall silent or end; the scan removes their entries, and those of dead nodes. */
proctype clean(byte f)
{
	do
	:: d_step { own[f] && !busy[f] -> own[f] = NONE; bare[f] = 0; owed[f] = 0 }
	:: d_step { gone(f, half[f]) -> half[f] = NONE }
	:: d_step { gone(f, flow[f]) -> flow[f] = NONE }
	od
}

init {
	atomic {
		run packet(0);
		run clean(0);
#if FLOWS == 2
		run packet(1);
		run clean(1);
#endif
		run publisher();
		run scanner()
	}
}
