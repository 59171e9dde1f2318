/* SPDX-License-Identifier: BSD-2-Clause */
/* What programs that measure have in common: where they run, how they sort, where figures go. */
#ifndef SLUICE_TOOLS_LIB_FIGURES_H
#define SLUICE_TOOLS_LIB_FIGURES_H

/* For qsort(): doubles, least first. */
int figures_by_value(const void *a, const void *b);

/* Best effort: without it figures are only noisier. */
void figures_stay_on_one_cpu(void);

/* build/bench/ below the working directory. Returns 0, -errno. */
int figures_make_directory(void);

#endif
