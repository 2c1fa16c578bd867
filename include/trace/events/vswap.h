/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vswap

#if !defined(_TRACE_VSWAP_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_VSWAP_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(vswap_range,

	TP_PROTO(unsigned long offset, unsigned int nr),

	TP_ARGS(offset, nr),

	TP_STRUCT__entry(
		__field(unsigned long,	offset)
		__field(unsigned int,	nr)
	),

	TP_fast_assign(
		__entry->offset	= offset;
		__entry->nr	= nr;
	),

	TP_printk("offset=%lu nr=%u", __entry->offset, __entry->nr)
);

/* A folio got virtual slots. */
DEFINE_EVENT(vswap_range, vswap_alloc,
	TP_PROTO(unsigned long offset, unsigned int nr),
	TP_ARGS(offset, nr));

/* Virtual slots were freed, with what was behind them. */
DEFINE_EVENT(vswap_range, vswap_free,
	TP_PROTO(unsigned long offset, unsigned int nr),
	TP_ARGS(offset, nr));

/* Nothing took the data of a folio: it stays in memory. */
DEFINE_EVENT(vswap_range, vswap_refuse,
	TP_PROTO(unsigned long offset, unsigned int nr),
	TP_ARGS(offset, nr));

/* Slots of a device were put behind virtual slots, or taken away. */
DECLARE_EVENT_CLASS(vswap_slots,

	TP_PROTO(unsigned long offset, int type, unsigned long slot,
		 unsigned int nr),

	TP_ARGS(offset, type, slot, nr),

	TP_STRUCT__entry(
		__field(unsigned long,	offset)
		__field(int,		type)
		__field(unsigned long,	slot)
		__field(unsigned int,	nr)
	),

	TP_fast_assign(
		__entry->offset	= offset;
		__entry->type	= type;
		__entry->slot	= slot;
		__entry->nr	= nr;
	),

	TP_printk("offset=%lu device=%d slot=%lu nr=%u", __entry->offset,
		  __entry->type, __entry->slot, __entry->nr)
);

DEFINE_EVENT(vswap_slots, vswap_bind,
	TP_PROTO(unsigned long offset, int type, unsigned long slot,
		 unsigned int nr),
	TP_ARGS(offset, type, slot, nr));

DEFINE_EVENT(vswap_slots, vswap_unbind,
	TP_PROTO(unsigned long offset, int type, unsigned long slot,
		 unsigned int nr),
	TP_ARGS(offset, type, slot, nr));

/* The cluster array has grown. */
TRACE_EVENT(vswap_grow,

	TP_PROTO(unsigned long mapped, unsigned long in_use, unsigned long limit),

	TP_ARGS(mapped, in_use, limit),

	TP_STRUCT__entry(
		__field(unsigned long,	mapped)
		__field(unsigned long,	in_use)
		__field(unsigned long,	limit)
	),

	TP_fast_assign(
		__entry->mapped	= mapped;
		__entry->in_use	= in_use;
		__entry->limit	= limit;
	),

	TP_printk("clusters mapped=%lu in_use=%lu limit=%lu",
		  __entry->mapped, __entry->in_use, __entry->limit)
);

#endif /* _TRACE_VSWAP_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
