/* Portable SIMD dispatch: one C function, compiled for several instruction sets, the best one chosen at load time.

   AGENTMEM_CLONES  goes before a hot, non-inline function.  It needs IFUNC (GCC on glibc/ELF); elsewhere it is empty and
                    the compiler's baseline is used.
   AGENTMEM_INLINE  helpers that are inlined into those clones and so take on their instruction set.
   AGENTMEM_ISA     a build's own limit: 1 for the compiler's baseline, 3 and 4 for x86-64-v3 and -v4; see setup.py. */
#ifndef AGENTMEM_SIMD_H
#define AGENTMEM_SIMD_H

#if !defined(AGENTMEM_ISA)
#define AGENTMEM_ISA 4
#endif

#if defined(__x86_64__) && defined(__GNUC__)
#define AGENTMEM_X86
#endif

#if defined(AGENTMEM_X86) && !defined(__clang__) && defined(__gnu_linux__) && AGENTMEM_ISA >= 4
#define AGENTMEM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(AGENTMEM_X86) && !defined(__clang__) && defined(__gnu_linux__) && AGENTMEM_ISA >= 3
#define AGENTMEM_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
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

/* The instruction set that hand-dispatched kernels take: 4, 3 or 1, as AGENTMEM_ISA counts. */
static inline int agentmem_isa(void)
{
#if defined(AGENTMEM_X86)
    if (AGENTMEM_ISA >= 4 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 4;
    if (AGENTMEM_ISA >= 3 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return 3;
#endif
    return 1;
}

#endif
