/* The schedules against PyTorch 1.13's.  A script ran torch.optim.lr_scheduler over 100
 * updates in epochs of 10, stepping it as the comment says, and printed the rate that
 * the optimiser had in updates `at`; of ReduceLROnPlateau, the rate after each of `values`. */
#include "runtime/trainer.h"
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOTAL = 100, PER_EPOCH = 10, NAT = 10, NVALUES = 20 };
static const int at[NAT] = {0, 1, 9, 10, 15, 29, 30, 47, 70, 99};

/* StepLR, MultiStepLR, ExponentialLR once an epoch and, `by step`, once an update;
 * CosineAnnealingLR once an update and once an epoch; CosineAnnealingWarmRestarts by the
 * fraction of the epoch; LinearLR, PolynomialLR, OneCycleLR once an update; LinearLR, then
 * another (SequentialLR). */
static const struct {
	const char *text;
	double rate[NAT];
} schedules[] = {
    {"lr 0.5\nschedule step step_size 3 gamma 0.5\n",
	{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.0625}},
    {"lr 0.5\nschedule step step_size 7 gamma 0.8\nby step\n",
	{0.5, 0.5, 0.4, 0.4, 0.32, 0.2048, 0.2048, 0.131072, 0.0536870912, 0.02199023255552}},
    {"lr 0.5\nschedule multistep gamma 0.2\nmilestones 1 3 7\n",
	{0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.02, 0.02, 0.004, 0.004}},
    {"lr 0.5\nschedule multistep gamma 0.2\nmilestones 10 47\nby step\n",
	{0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.02, 0.02, 0.02}},
    {"lr 0.5\nschedule exponential gamma 0.9\n",
	{0.5, 0.5, 0.5, 0.45, 0.45, 0.405, 0.3645, 0.32805, 0.23914845, 0.1937102445}},
    {"lr 0.5\nschedule exponential gamma 0.97\nby step\n",
	{0.5, 0.485, 0.38011552932728, 0.36871206344746, 0.31662559456839, 0.20670467450678,
	    0.20050353427158, 0.11946522760474, 0.059291358751059, 0.024511602023405}},
    {"lr 0.5\nschedule cosine min_lr 0.01\n",
	{0.5, 0.4998791072896, 0.49027195299085, 0.48800884649231, 0.47329659842615,
	    0.40516222814498, 0.39900738681166, 0.27805653676304, 0.11099261318834,
	    0.010120892710396}},
    {"lr 0.5\nschedule cosine min_lr 0.01\nby epoch\n",
	{0.5, 0.5, 0.5, 0.48800884649231, 0.48800884649231, 0.45320916362186, 0.39900738681166,
	    0.33070916362186, 0.11099261318834, 0.021991153507687}},
    {"lr 0.5\nschedule cosine min_lr 0.01 cycle_epochs 2 cycle_mult 2\n",
	{0.5, 0.49698364344581, 0.29332644393486, 0.255, 0.081758838609296, 0.44129946157201,
	    0.4282411613907, 0.12698785164459, 0.48135048546527, 0.26461865486097}},
    {"lr 0.5\nschedule cosine cycle_epochs 3\n",
	{0.5, 0.49863047384207, 0.39694631307312, 0.375, 0.25, 0.0013695261579317, 0.5,
	    0.19802207729556, 0.375, 0.39694631307312}},
    {"lr 0.5\nschedule linear min_lr 0.05\n",
	{0.5, 0.4955, 0.4595, 0.455, 0.4325, 0.3695, 0.365, 0.2885, 0.185, 0.0545}},
    {"lr 0.5\nschedule polynomial power 2.5\n",
	{0.5, 0.4875935935541, 0.39497852634669, 0.38421673571046, 0.33305604351971,
	    0.21238110503291, 0.20498170650085, 0.10224914339494, 0.024647515087732, 5e-06}},
    {"lr 0.5\nschedule onecycle\n",
	{0.02, 0.021406890282954, 0.12531510431303, 0.14758197423205, 0.2729933380605, 0.5,
	    0.49974826764226, 0.42276597118407, 0.18349205464518, 2e-06}},
    {"lr 0.5\nschedule onecycle max_lr 2 pct_start 0.4 div_factor 10 final_div_factor 100 "
     "three_phase 1\n",
	{0.2, 0.20291842267921, 0.42634032664601, 0.47654808184136, 0.78085560166172,
	    1.7234519181586, 1.773659673354, 1.8194984870632, 0.38050151293685, 0.002}},
    {"lr 0.5\nschedule onecycle pct_start 0.25 anneal_strategy 1\n",
	{0.02, 0.04, 0.2, 0.22, 0.32, 0.4666668, 0.46000016, 0.34666728, 0.19333456,
	    2.000000000002e-06}},
    {"lr 0.5\nschedule cosine\nwarmup_steps 15\nwarmup_start 0.1\n",
	{0.05, 0.08, 0.32, 0.35, 0.5, 0.46727223657638, 0.4625542839324, 0.34460276251058,
	    0.13856541105587, 0.00017073496424427}},
    {"lr 0.5\nschedule exponential gamma 0.95\nby step\nwarmup_epochs 1.5\nwarmup_start 0.2\n",
	{0.1, 0.12666666666667, 0.34, 0.36666666666667, 0.5, 0.24383748955776, 0.23164561507988,
	    0.09685574222925, 0.029769277552765, 0.0067259378288417}},
};

/* OneCycleLR's momentum */
static const struct {
	const char *text;
	double momentum[NAT];
} cycles[] = {
    {"lr 0.5\nschedule onecycle cycle_momentum 1\n",
	{0.95, 0.94970689785772, 0.92805935326812, 0.92342042203499, 0.89729305457073, 0.85,
	    0.85005034667293, 0.86544686755066, 0.91330184227833, 0.95}},
    {"lr 0.5\nschedule onecycle pct_start 0.4 three_phase 1 cycle_momentum 1 base_momentum 0.5 "
     "max_momentum 0.9\n",
	{0.9, 0.89935146162684, 0.84970214963422, 0.83854487070192, 0.77092097740851,
	    0.56145512929808, 0.55029785036578, 0.5401114473193, 0.8598885526807, 0.9}},
};

static const double values[NVALUES] = {1, 0.9, 0.9, 0.8999, 0.8998, 0.8997, 0.8996, 0.5, 0.6, 0.6,
    0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6};
static const struct {
	int sign;
	const char *text;
	double rate[NVALUES];
} plateaus[] = {
    {-1, "lr 0.5\nschedule plateau factor 0.5 patience 2\n",
	{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125,
	    0.0625, 0.0625, 0.0625, 0.03125}},
    {-1, "lr 0.5\nschedule plateau factor 0.5 patience 1 cooldown 2 min_lr 0.1\n",
	{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125,
	    0.125, 0.1, 0.1, 0.1}},
    {-1, "lr 0.5\nschedule plateau factor 0.3 patience 2 threshold 0.05 threshold_mode 1\n",
	{0.5, 0.5, 0.5, 0.5, 0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.045, 0.045, 0.045, 0.0135,
	    0.0135, 0.0135, 0.00405, 0.00405, 0.00405, 0.001215}},
    {1, "lr 0.5\nschedule plateau factor 0.5 patience 3 threshold 0.2\n",
	{0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125, 0.0625, 0.0625,
	    0.0625, 0.0625, 0.03125, 0.03125, 0.03125, 0.03125}},
    {-1, "lr 0.5\nschedule plateau factor 0.1 patience 0 eps 0.001\n",
	{0.5, 0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.005, 0.0005, 0.0005, 0.0005, 0.0005,
	    0.0005, 0.0005, 0.0005, 0.0005, 0.0005, 0.0005, 0.0005}},
};

static struct stage_config
stage(struct region *r, const char *text)
{
	struct stage_config c;
	struct rt_msg m = {0};

	if (!stage_config_parse(&c, text, r, &m))
		fail_msg("%s", m.text);
	return c;
}

static void
near(const char *what, int t, double got, double want)
{
	if (!(fabs(got - want) <= 1e-11 + 1e-9 * fabs(want)))
		fail_msg("%s, %d: %.14g, should be %.14g", what, t, got, want);
}

static void
follow_torch(void **state)
{
	struct region r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
		struct stage_config c = stage(&r, schedules[i].text);

		for (int k = 0; k < NAT; k++)
			near(schedules[i].text, at[k], schedule_lr(&c, at[k], TOTAL, PER_EPOCH, 1),
			    schedules[i].rate[k]);
	}
	for (size_t i = 0; i < sizeof cycles / sizeof *cycles; i++) {
		struct stage_config c = stage(&r, cycles[i].text);

		for (int k = 0; k < NAT; k++)
			near(cycles[i].text, at[k], schedule_momentum(&c, at[k], TOTAL),
			    cycles[i].momentum[k]);
	}
	region_free(&r);
}

static void
plateau_follows_torch(void **state)
{
	struct region r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof plateaus / sizeof *plateaus; i++) {
		struct stage_config c = stage(&r, plateaus[i].text);
		struct plateau p = {.best = NAN, .scale = 1};

		for (int k = 0; k < NVALUES; k++) {
			plateau_step(&c, &p, values[k], plateaus[i].sign);
			near(plateaus[i].text, k, schedule_lr(&c, k, TOTAL, PER_EPOCH, p.scale),
			    plateaus[i].rate[k]);
		}
		plateau_step(&c, &p, NAN, plateaus[i].sign); /* no news is no gain */
		assert_true(p.best == (plateaus[i].sign > 0 ? 1 : p.best) && !isnan(p.best));
	}
	region_free(&r);
}

/* Every rate of every schedule is a number of at least 0, whatever the stage's length. */
static void
any_length(void **state)
{
	static const int64_t totals[] = {0, 1, 2, 3, 7}, per_epoch[] = {1, 2, 7};
	struct region r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++) {
		struct stage_config c = stage(&r, schedules[i].text);

		for (int k = 0; k < 15; k++)
			for (int64_t t = 0; t < totals[k / 3] || t < 1; t++) {
				double v = schedule_lr(&c, t, totals[k / 3], per_epoch[k % 3], 1);

				if (!(v >= 0 && v <= 2.0001))
					fail_msg("%s: update %d of %d: %g", schedules[i].text,
					    (int)t, (int)totals[k / 3], v);
			}
	}
	region_free(&r);
}

static void
mistakes(void **state)
{
	static const struct {
		const char *text, *why;
	} wrong[] = {
	    {"schedule sine\n", "unknown schedule"},
	    {"schedule step gamma 0.1\n", "missing"},
	    {"schedule cosine power 2\n", "no such key"},
	    {"schedule cosine min_lr\n", "missing"},
	    {"schedule onecycle pct_start 2\n", "not a number in 0..1"},
	    {"milestones 3 x\n", "line 1"},
	    {"by week\n", "epoch or step"},
	    {"accumulate 0\n", "line 1"},
	};
	struct region r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct stage_config c;
		struct rt_msg m = {0};

		assert_false(stage_config_parse(&c, wrong[i].text, &r, &m));
		if (!strstr(m.text, wrong[i].why))
			fail_msg("%s: %s", wrong[i].text, m.text);
	}
	region_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(follow_torch),
	    cmocka_unit_test(plateau_follows_torch),
	    cmocka_unit_test(any_length),
	    cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
