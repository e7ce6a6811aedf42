# Writes the exported variables and the directory of a bash script into a file when the script ends.
#
# Bash reads this file through BASH_ENV before the script, so bash runs the script itself as usual. COUNTERSIGN_SESSION
# names the file for the record: NUL begin NUL, the output of `export -p`, NUL, the directory, newline, NUL end NUL.
# Without the end, the record is incomplete. This file prints nothing and does not change the script's exit code. If the
# script has set a limit for the size of files, the write fails instead of ending the shell (SIGXFSZ).
{
  unset -v BASH_ENV
  __countersign_file=${COUNTERSIGN_SESSION-}
  __countersign_options=$-
  set +a
  export -n __countersign_file __countersign_options
  unset -v COUNTERSIGN_SESSION
} 2>/dev/null

# `local -` needs bash 4.4. With an older version, no record is written.
if [[ $__countersign_file && $BASHPID == "$$" && ${BASH_VERSINFO[0]}${BASH_VERSINFO[1]} > 43 ]]; then

  # The traps without and with a trap of the script. The text of the script's trap runs outside of functions and with
  # the exit code in $?.
  __countersign_plain='{ __countersign_last; } >/dev/null 2>&1'
  __countersign_chain='if { __countersign_first; } >/dev/null 2>&1; then eval "$__countersign_exit"; else '
  __countersign_chain+='eval "$__countersign_exit"; fi; { __countersign_last; } >/dev/null 2>&1'

  __countersign_write() {
    builtin printf '\0begin\0'
    builtin export -p
    builtin printf '\0'
    builtin pwd -P
    builtin printf '\0end\0'
  }

  # Runs before the trap of the script, which may end the shell without the last record.
  __countersign_first() {
    { local - __countersign_status=$?; set +aeuxET; } 2>/dev/null
    if [[ $BASHPID == "$$" ]]; then
      # In a subshell, because the script may have its own trap for XFSZ.
      (builtin trap -- '' XFSZ; __countersign_write >>"$__countersign_file")
      if [[ -o posix ]]; then
        alias exit=__countersign_leave
      elif ! builtin declare -F exit; then
        builtin eval 'exit() { __countersign_leave "$@"; }'
      fi
    fi
    return "$__countersign_status"
  }

  __countersign_leave() {
    { __countersign_last; } >/dev/null 2>&1
    builtin exit "$@"
  }

  # No command of the script follows, so functions of the script can be removed. In POSIX mode, a special builtin such
  # as `unset` precedes a function of the same name. The assignment of POSIXLY_CORRECT begins this mode.
  __countersign_last() {
    if [[ $BASHPID == "$$" ]]; then
      __countersign_posix=y
      if [[ ! -o posix ]]; then __countersign_posix=; POSIXLY_CORRECT=y; fi
      unset -f builtin exit export printf pwd set
      set +aeuxET
      if [[ ! $__countersign_posix ]]; then set +o posix; fi
      builtin trap -- '' XFSZ
      __countersign_write >>"$__countersign_file"
    fi
  }

  # Keeps the last record when the script sets a trap for EXIT.
  __countersign_trap() {
    { local - __countersign_item __countersign_action=- __countersign_special= __countersign_debug=; } 2>/dev/null
    { local __countersign_result=0; set +aeuxET; } 2>/dev/null
    if [[ $# -eq 0 || $1 == -[pP]* || $# -eq 1 && $1 == -- ]]; then __countersign_show "$@"; return; fi
    for __countersign_item; do
      case ${__countersign_item^^} in EXIT | 0 | ERR | DEBUG | RETURN) __countersign_special=y ;; esac
    done
    if [[ ! $__countersign_special || $1 == -l* ]]; then
      if [[ $BASHPID != "$$" ]]; then __countersign_own=y; fi
      __countersign_builtin "$@"
      return
    fi
    if [[ $1 == -- ]]; then shift; fi
    # Without an action, each operand is a signal whose trap ends.
    if [[ $# -gt 1 && ! $1 =~ ^[0-9]+$ ]]; then __countersign_action=$1; shift; fi
    # At the end of a function, bash restores the traps for ERR, DEBUG and RETURN that the function has removed, so this
    # function sets an empty trap instead. No command follows a new trap for DEBUG. A trap for RETURN would run at the
    # end of this function, so this run of the trap only sets the trap of the script.
    for __countersign_item; do
      case ${__countersign_item^^} in
      EXIT | 0) __countersign_set_exit ;;
      ERR | DEBUG | RETURN)
        if [[ $__countersign_action == - ]]; then
          unset -v "__countersign_${__countersign_item^^}"
          builtin trap -- '' "$__countersign_item"
        else
          builtin printf -v "__countersign_${__countersign_item^^}" %s "$__countersign_action"
          case ${__countersign_item^^} in
          ERR) builtin trap -- "$__countersign_action" ERR ;;
          DEBUG) __countersign_debug=y ;;
          RETURN)
            builtin trap -- '[[ ${FUNCNAME[1]-} == trap ]] || builtin trap -- "$__countersign_RETURN" RETURN' RETURN
            ;;
          esac
        fi
        ;;
      *) __countersign_builtin -- "$__countersign_action" "$__countersign_item" || __countersign_result=$? ;;
      esac
    done
    if [[ $__countersign_debug ]]; then
      builtin trap -- "$__countersign_action" DEBUG
    else
      return "$__countersign_result"
    fi
  }

  trap() { __countersign_trap "$@"; }
  # In POSIX mode the builtin `trap` precedes a function, but an alias precedes the builtin. In other modes,
  # bash reads no alias in a script.
  alias trap=__countersign_trap

  # Runs the builtin `trap`. An error message names the line of the script, not a line of this file.
  __countersign_builtin() {
    builtin trap "$@" 2>/dev/null && return
    local __countersign_result=$? __countersign_caller=1
    while [[ ${BASH_SOURCE[__countersign_caller]-} == "${BASH_SOURCE[0]}" ]]; do ((__countersign_caller += 1)); done
    builtin printf '%s: line %s: trap: wrong option or signal: %s\n' "${BASH_SOURCE[__countersign_caller]-$0}" \
      "${BASH_LINENO[__countersign_caller - 1]}" "$*" >&2
    return "$__countersign_result"
  }

  __countersign_set_exit() {
    if [[ $__countersign_action == "$__countersign_plain" || $__countersign_action == "$__countersign_chain" ]]; then
      return
    elif [[ $BASHPID != "$$" ]]; then
      __countersign_own=y
      builtin trap -- "$__countersign_action" EXIT
    elif [[ $__countersign_action == - ]]; then
      unset -v __countersign_exit
      builtin trap -- "$__countersign_plain" EXIT
    else
      __countersign_exit=$__countersign_action
      builtin trap -- "$__countersign_chain" EXIT
    fi
  }

  # Prints the traps of the script. __countersign_own is set in a subshell that has set traps of its own.
  __countersign_show() {
    local __countersign_item __countersign_name __countersign_all=
    case $# in
    0) __countersign_all=y ;;
    1) if [[ $1 == -p || $1 == -- ]]; then __countersign_all=y; fi ;;
    esac
    if [[ $__countersign_all ]]; then
      __countersign_show -p EXIT
      builtin trap -p {1..64} 2>/dev/null
      __countersign_show -p DEBUG ERR RETURN
      return
    fi
    for __countersign_item; do
      __countersign_name=__countersign_${__countersign_item^^}
      case ${__countersign_item^^} in
      EXIT | 0)
        if [[ ${__countersign_own-} ]]; then
          builtin trap -p EXIT
        elif [[ ${__countersign_exit+set} ]]; then
          builtin printf 'trap -- %s EXIT\n' "${__countersign_exit@Q}"
        fi
        ;;
      ERR | DEBUG | RETURN)
        if [[ ${!__countersign_name+set} ]]; then
          builtin printf 'trap -- %s %s\n' "${!__countersign_name@Q}" "${__countersign_item^^}"
        fi
        ;;
      -*) ;;
      *) __countersign_builtin -p "$__countersign_item" ;;
      esac
    done
  }

  builtin trap -- "$__countersign_plain" EXIT
fi
if [[ $__countersign_options == *a* ]]; then set -a; fi
