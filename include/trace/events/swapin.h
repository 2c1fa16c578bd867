/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM swapin

#if !defined(_TRACE_SWAPIN_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_SWAPIN_H

#include <linux/swap.h>
#include <linux/tracepoint.h>

#define SWAPIN_REASONS							\
	EM(SWAPIN_WHOLE,	"whole")				\
	EM(SWAPIN_BACKING,	"not in one place")			\
	EM(SWAPIN_MEMORY,	"no memory")				\
	EM(SWAPIN_LIMIT,	"cgroup near its limit")		\
	EM(SWAPIN_BAD_PAGE,	"bad page")				\
	EM(SWAPIN_CHANGED,	"changed meanwhile")			\
	EM(SWAPIN_ADVICE,	"random access advised")		\
	EMe(SWAPIN_NEIGHBOURS,	"neighbours not in use")

#undef EM
#undef EMe
#define EM(a, b)	TRACE_DEFINE_ENUM(a);
#define EMe(a, b)	TRACE_DEFINE_ENUM(a);

#ifndef _TRACE_SWAPIN_ENUM
#define _TRACE_SWAPIN_ENUM
enum swapin_reason {
	SWAPIN_WHOLE,
	SWAPIN_BACKING,
	SWAPIN_MEMORY,
	SWAPIN_LIMIT,
	SWAPIN_BAD_PAGE,
	SWAPIN_CHANGED,
	SWAPIN_ADVICE,
	SWAPIN_NEIGHBOURS,
};
#endif

SWAPIN_REASONS

#undef EM
#undef EMe
#define EM(a, b)	{ a, b },
#define EMe(a, b)	{ a, b }

/* A slot could have come back as a part of a large folio. Did it, or why not? */
TRACE_EVENT(swapin_order,

	TP_PROTO(swp_entry_t slot, int wanted, int taken,
		 enum swapin_reason why),

	TP_ARGS(slot, wanted, taken, why),

	TP_STRUCT__entry(
		__field(unsigned int,	type)
		__field(unsigned long,	offset)
		__field(int,		wanted)
		__field(int,		taken)
		__field(int,		why)
	),

	TP_fast_assign(
		__entry->type	= swp_type(slot);
		__entry->offset	= swp_offset(slot);
		__entry->wanted	= wanted;
		__entry->taken	= taken;
		__entry->why	= why;
	),

	TP_printk("type=%u offset=%lu wanted=%d taken=%d why=%s",
		  __entry->type, __entry->offset, __entry->wanted,
		  __entry->taken, __print_symbolic(__entry->why, SWAPIN_REASONS))
);

#endif /* _TRACE_SWAPIN_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
