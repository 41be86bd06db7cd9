// SPDX-License-Identifier: GPL-2.0
/*
 * credit.c: the gate at which all domains meet.  A step asks here before it moves
 * something, and is charged for what it has moved; credit.h says who may.  Tasks that
 * may not wait in their domain's scheduler (sched.c), which is woken when one of them
 * could go on: because credits came, or because others stopped wanting to move.
 *
 * The gate's lock is held for sums only, never while something is moved.  A domain that
 * is alone meets it once a round, sets no timer, and is never woken by it.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>

#include "trace.h"

static DEFINE_SPINLOCK(credit_lock);	/* serialises the pool, accounts but for `open`, refills */
static struct vpback_credit_pool credit_pool;
static unsigned int credit_waiting;	/* accounts of which something waits */
static ktime_t credit_refilled;		/* the end of the last period that was counted */
static struct hrtimer credit_timer;	/* the end of this one, or of patience */
static unsigned long credit_spent;	/* jiffies: when something was charged last */

#define STALL_MS	100U	/* so long may nothing be moved while somebody waits */

/* --- parameters: all take effect at once ----------------------------------------------- */

static bool credit_strict;
static unsigned int credit_period_ms = 10;
static unsigned int credit_burst_ms = 30;
static unsigned int credit_mbps[2];		/* as set; 0: as measured */
static unsigned int credit_measured[2] = { 1000, 1000 };	/* or assumed, so far */

static void credit_turn(void);

static u64 credit_rate(enum vpback_credit_kind kind)
{
	return (credit_mbps[kind] ?: credit_measured[kind]) * 1000000ULL;
}

/* MB/s; `set`: by the operator, and not measured. */
unsigned int vpback_credit_capacity(enum vpback_credit_kind kind, bool *set)
{
	unsigned int mbps = READ_ONCE(credit_mbps[kind]);

	*set = mbps;
	return mbps ?: READ_ONCE(credit_measured[kind]);
}

static void credit_set_rules(void)
{
	unsigned long flags;

	spin_lock_irqsave(&credit_lock, flags);
	vpback_credit_set_rules(&credit_pool, credit_strict, credit_period_ms, credit_burst_ms,
				credit_rate(VPBACK_CREDIT_DISK), credit_rate(VPBACK_CREDIT_NET));
	credit_turn();
	spin_unlock_irqrestore(&credit_lock, flags);
}

/* MB/s; 0: it could not be measured. */
void vpback_credit_measured(unsigned int disk, unsigned int net)
{
	if (disk)
		WRITE_ONCE(credit_measured[VPBACK_CREDIT_DISK], disk);
	if (net)
		WRITE_ONCE(credit_measured[VPBACK_CREDIT_NET], net);
	credit_set_rules();
}

static int credit_mode_set(const char *val, const struct kernel_param *kp)
{
	if (sysfs_streq(val, "strict"))
		credit_strict = true;
	else if (sysfs_streq(val, "work-conserving"))
		credit_strict = false;
	else
		return -EINVAL;
	credit_set_rules();
	return 0;
}

static int credit_mode_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", credit_strict ? "strict" : "work-conserving");
}

static int credit_number_set(const char *val, const struct kernel_param *kp)
{
	bool ms = kp->arg == &credit_period_ms || kp->arg == &credit_burst_ms;
	int ret;

	ret = param_set_uint_minmax(val, kp, kp->arg == &credit_period_ms,
				    kp->arg == &credit_period_ms ? VPBACK_CREDIT_MAX_MS :
				    ms ? 10 * VPBACK_CREDIT_MAX_MS : 1000000);
	if (!ret)
		credit_set_rules();
	return ret;
}

static const struct kernel_param_ops credit_mode_ops = {
	.set = credit_mode_set,
	.get = credit_mode_get,
};

static const struct kernel_param_ops credit_number_ops = {
	.set = credit_number_set,
	.get = param_get_uint,
};

module_param_cb(credit_mode, &credit_mode_ops, NULL, 0644);
MODULE_PARM_DESC(credit_mode,
		 "strict: a domain without credits waits; work-conserving: while others have some (default)");
module_param_cb(credit_period_ms, &credit_number_ops, &credit_period_ms, 0644);
MODULE_PARM_DESC(credit_period_ms, "ms between two refills (1..1000; default 10)");
module_param_cb(credit_burst_ms, &credit_number_ops, &credit_burst_ms, 0644);
MODULE_PARM_DESC(credit_burst_ms,
		 "unused credits that a domain may save up, as ms of its share (0..10000; default 30)");
module_param_cb(disk_mbps, &credit_number_ops, &credit_mbps[VPBACK_CREDIT_DISK], 0644);
MODULE_PARM_DESC(disk_mbps, "MB/s of all disks, for credits (0..1000000; 0: as measured; default 0)");
module_param_cb(net_mbps, &credit_number_ops, &credit_mbps[VPBACK_CREDIT_NET], 0644);
MODULE_PARM_DESC(net_mbps, "MB/s of the network, for credits (0..1000000; 0: as measured; default 0)");

/* --- the gate: with its lock ------------------------------------------------------------ */

static struct vpback_account *credit_account(struct vpback_credit *credit)
{
	return container_of(credit, struct vpback_account, credit);
}

static void credit_refill(void)
{
	u64 period = credit_pool.period_ms * NSEC_PER_MSEC, over;

	credit_pool.now = ktime_get_ns();
	over = div64_u64(credit_pool.now - credit_refilled, period);
	if (!over)
		return;
	credit_refilled += over * period;
	vpback_credit_refill(&credit_pool, over);
}

/* Until the period is over, or the patience. */
static void credit_set_timer(void)
{
	ktime_t end = ktime_add_ms(credit_refilled, credit_pool.period_ms);

	if (credit_pool.patient_until > credit_pool.now && credit_pool.patient_until < end)
		end = credit_pool.patient_until;
	if (!hrtimer_is_queued(&credit_timer) || end < hrtimer_get_expires(&credit_timer))
		hrtimer_start(&credit_timer, end, HRTIMER_MODE_ABS);
}

/* Something has changed: who may go on?  Those are woken. */
static void credit_turn(void)
{
	struct vpback_credit *credit;
	bool closed = false;
	u32 open;

	if (!credit_waiting)
		return;
	credit_refill();
	vpback_credit_for_each(credit, &credit_pool) {
		struct vpback_account *account = credit_account(credit);

		if (!credit->waiting)
			continue;
		open = vpback_credit_may_go_on(&credit_pool, credit);
		closed |= open != credit->waiting;
		WRITE_ONCE(account->open, open);
		if (open)
			wake_up_nr(account->work, credit->threads);
	}
	if (closed)
		credit_set_timer();
}

/*
 * Who has credits wants to move, and does not: its step hangs, perhaps in a disk's full queue.
 * The others have waited for it long enough.
 */
static void credit_look_for_stall(void)
{
	if (credit_pool.strict || time_before(jiffies, credit_spent + msecs_to_jiffies(STALL_MS)))
		return;
	credit_spent = jiffies;
	vpback_credit_rounds(&credit_pool);
}

static enum hrtimer_restart credit_period_over(struct hrtimer *timer)
{
	unsigned long flags;

	spin_lock_irqsave(&credit_lock, flags);
	credit_look_for_stall();
	credit_turn();
	spin_unlock_irqrestore(&credit_lock, flags);
	return HRTIMER_NORESTART;
}

/* Of the scarcest kind. */
static s64 credit_left(const struct vpback_account *account)
{
	const s64 *left = account->credit.left;
	s64 ret = left[VPBACK_CREDIT_WORK];

	if (credit_pool.strict)
		ret = min(left[VPBACK_CREDIT_DISK], left[VPBACK_CREDIT_NET]);
	return account->credit.cap ? min(ret, account->credit.cap_left) : ret;
}

static void credit_trace(struct vpback_account *account, bool begins)
{
	trace_vpback_credit_wait(container_of(account, struct vpback_device, account)->domid,
				 begins, credit_left(account));
}

/* --- what schedulers and steps say ---------------------------------------------------------- */

/* A step would move something that needs these: may it?  Process context. */
bool vpback_credit_ask(struct vpback_account *account, unsigned int needs)
{
	struct vpback_credit *credit = &account->credit;
	bool may;

	if (!READ_ONCE(credit_pool.strict) && !READ_ONCE(credit->cap) &&
	    READ_ONCE(credit->left[VPBACK_CREDIT_WORK]) > 0)
		return true;
	spin_lock_irq(&credit_lock);
	credit_refill();
	may = vpback_credit_may(&credit_pool, credit, needs, true);
	if (!may)
		WRITE_ONCE(account->open, account->open & ~BIT(needs));
	spin_unlock_irq(&credit_lock);
	return may;
}

/* So much was moved: `kinds` are bits of enum vpback_credit_kind.  Process context. */
void vpback_credit_spend(struct vpback_account *account, unsigned int kinds, u64 bytes)
{
	unsigned int kind;

	if (kinds & BIT(VPBACK_CREDIT_WORK))
		atomic64_add(bytes, &account->charged);
	else if (!READ_ONCE(credit_pool.strict))
		return;
	spin_lock_irq(&credit_lock);
	credit_spent = jiffies;
	for (kind = 0; kind < VPBACK_CREDITS; kind++)
		if (kinds & BIT(kind))
			vpback_credit_charge(&credit_pool, &account->credit, kind, bytes, false);
	spin_unlock_irq(&credit_lock);
}

/* Likewise, of what has asked for no leave. */
void vpback_credit_force(struct vpback_account *account, u64 disk, u64 net)
{
	atomic64_add(disk + net, &account->charged);
	atomic64_add(disk + net, &account->regular);
	spin_lock_irq(&credit_lock);
	vpback_credit_charge(&credit_pool, &account->credit, VPBACK_CREDIT_DISK, disk, true);
	vpback_credit_charge(&credit_pool, &account->credit, VPBACK_CREDIT_NET, net, true);
	vpback_credit_charge(&credit_pool, &account->credit, VPBACK_CREDIT_WORK, disk + net,
			     true);
	spin_unlock_irq(&credit_lock);
}

/* May a command of the domain be executed?  Process context. */
bool vpback_credit_ask_command(struct vpback_account *account)
{
	bool may;

	if (READ_ONCE(account->credit.left[VPBACK_CREDIT_COMMAND]) > 0)
		return true;
	spin_lock_irq(&credit_lock);
	credit_refill();
	credit_look_for_stall();
	may = vpback_credit_has_time(&credit_pool, &account->credit);
	spin_unlock_irq(&credit_lock);
	return may;
}

/* Commands of the domain took so many ns of the CPU.  Process context. */
void vpback_credit_spend_time(struct vpback_account *account, u64 ns)
{
	spin_lock_irq(&credit_lock);
	vpback_credit_charge_time(&credit_pool, &account->credit, ns);
	spin_unlock_irq(&credit_lock);
}

/* The first of the domain's tasks that need these waits.  Any context. */
void vpback_credit_wait(struct vpback_account *account, unsigned int needs)
{
	unsigned long flags;

	spin_lock_irqsave(&credit_lock, flags);
	if (!account->credit.waiting) {
		WRITE_ONCE(credit_waiting, credit_waiting + 1);
		account->waits_since = ktime_get();
		account->waits++;
		credit_trace(account, true);
	}
	account->credit.waiting |= BIT(needs);
	smp_mb();	/* that, before who wants to move; as vpback_credit_stepped() */
	credit_turn();
	spin_unlock_irqrestore(&credit_lock, flags);
}

/* None of them waits any more.  Any context. */
void vpback_credit_go_on(struct vpback_account *account, unsigned int needs)
{
	unsigned long flags;

	spin_lock_irqsave(&credit_lock, flags);
	account->credit.waiting &= ~BIT(needs);
	WRITE_ONCE(account->open, account->open & ~BIT(needs));
	if (!account->credit.waiting) {
		WRITE_ONCE(credit_waiting, credit_waiting - 1);
		credit_trace(account, false);
		account->waited_us += ktime_us_delta(ktime_get(), account->waits_since);
	}
	spin_unlock_irqrestore(&credit_lock, flags);
}

/* A step has ended, and perhaps with it what kept others waiting. */
void vpback_credit_stepped(void)
{
	smp_mb();	/* who wants to move, before whether anybody waits */
	if (!READ_ONCE(credit_waiting))
		return;
	spin_lock_irq(&credit_lock);
	credit_turn();
	spin_unlock_irq(&credit_lock);
}

/* --- accounts ------------------------------------------------------------------------------- */

/* As xenstore says, from now on. */
void vpback_credit_configure(struct vpback_account *account, u32 weight, u64 cap)
{
	spin_lock_irq(&credit_lock);
	account->weight = clamp(weight, 1U, VPBACK_CREDIT_MAX_WEIGHT);
	account->cap = min(cap, VPBACK_CREDIT_MAX_RATE);
	if (account->joined) {
		vpback_credit_set(&credit_pool, &account->credit, account->weight, account->cap);
		credit_turn();
	}
	spin_unlock_irq(&credit_lock);
}

/* What it has left, bytes: of the scarcest kind. */
s64 vpback_credit_left(struct vpback_account *account)
{
	s64 ret;

	spin_lock_irq(&credit_lock);
	ret = account->joined ? credit_left(account) : 0;
	spin_unlock_irq(&credit_lock);
	return ret;
}

/* How often somebody of the domain waited, or for how long, microseconds. */
u64 vpback_credit_waits(struct vpback_account *account, bool us)
{
	u64 ret;

	spin_lock_irq(&credit_lock);
	ret = us ? account->waited_us : account->waits;
	if (us && account->joined && account->credit.waiting)
		ret += ktime_us_delta(ktime_get(), account->waits_since);
	spin_unlock_irq(&credit_lock);
	return ret;
}

/* Its scheduler begins: `work` is where its threads wait. */
void vpback_credit_join(struct vpback_account *account, wait_queue_head_t *work,
			unsigned int threads)
{
	spin_lock_irq(&credit_lock);
	memset(&account->credit, 0, sizeof(account->credit));
	vpback_credit_add(&credit_pool, &account->credit);
	vpback_credit_set(&credit_pool, &account->credit, account->weight, account->cap);
	account->credit.threads = threads;
	account->work = work;
	account->open = 0;
	account->joined = true;
	credit_turn();
	spin_unlock_irq(&credit_lock);
}

/* ... and ends; nothing of it runs or waits. */
void vpback_credit_leave(struct vpback_account *account)
{
	spin_lock_irq(&credit_lock);
	vpback_credit_remove(&credit_pool, &account->credit);
	account->joined = false;
	credit_turn();
	spin_unlock_irq(&credit_lock);
}

void vpback_credit_init(void)
{
	hrtimer_init(&credit_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	credit_timer.function = credit_period_over;
	credit_refilled = ktime_get();
	credit_spent = jiffies;
	credit_pool.cpus = num_online_cpus();
	credit_set_rules();
}

/* No domain is left. */
void vpback_credit_exit(void)
{
	hrtimer_cancel(&credit_timer);
}
