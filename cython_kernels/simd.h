/* Portable SIMD dispatch: one C function, compiled for several instruction sets, the best one chosen at load time.

   AGENTMEM_CLONES  goes before a hot, non-inline function.  It needs IFUNC (GCC on glibc/ELF); elsewhere it is empty and
                    the compiler's baseline is used.
   AGENTMEM_INLINE  helpers that are inlined into those clones and so take on their instruction set. */
#ifndef AGENTMEM_SIMD_H
#define AGENTMEM_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define AGENTMEM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define AGENTMEM_CLONES
#endif

#if defined(__GNUC__)
#define AGENTMEM_INLINE static inline __attribute__((always_inline))
#define AGENTMEM_PREFETCH(address) __builtin_prefetch(address)
#else
#define AGENTMEM_INLINE static inline
#define AGENTMEM_PREFETCH(address) ((void)0)
#endif

#endif
