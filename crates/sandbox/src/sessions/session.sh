# Writes the exported variables and the directory of a script of sh into a file when the script ends.
#
# `sh -c '. "$COUNTERSIGN_SESSION_SHELL"; . "$0"' SCRIPT` reads this file and then the script. The record has the form
# that session.bash describes. In sh a function can't replace `trap`, but an alias can.
if [ -n "${BASH_VERSION-}" ]; then
  # With -c, bash changes the exit code of some errors, so bash starts again with this file as its script.
  if [ $# -eq 0 ]; then
    case $- in *e*) set -- "$@" -e ;; esac
    case $- in *f*) set -- "$@" -f ;; esac
    case $- in *u*) set -- "$@" -u ;; esac
    case $- in *x*) set -- "$@" -x ;; esac
    exec "$BASH" "$@" "$COUNTERSIGN_SESSION_SHELL" "$0"
  fi
  BASH_ARGV0=$1
  __countersign_script=$1
  shift
fi
__countersign_file=${COUNTERSIGN_SESSION-}
unset -v COUNTERSIGN_SESSION COUNTERSIGN_SESSION_SHELL

# A subshell has the $$ of the script, so only the kernel tells which process this is.
__countersign_is_main() {
  IFS=' ' command read -r __countersign_pid __countersign_rest </proc/self/stat && [ "$__countersign_pid" = "$$" ]
}

__countersign_write() {
  command printf '\000begin\000'
  export -p
  command printf '\000'
  # In a directory that no longer exists, dash prints its path nevertheless.
  if [ . -ef "$PWD" ]; then command pwd -P; fi
  command printf '\000end\000'
}

# The traps without and with a trap of the script. The text of the script's trap runs outside of functions and with the
# exit code in $?.
__countersign_plain='{ __countersign_last; } >/dev/null 2>&1'
__countersign_chain='if { __countersign_first; } >/dev/null 2>&1; then eval "$__countersign_exit"; else '
__countersign_chain="$__countersign_chain"'eval "$__countersign_exit"; fi; { __countersign_last; } >/dev/null 2>&1'

# Runs before the trap of the script, which may end the shell without the last record.
__countersign_first() {
  __countersign_status=$?
  if __countersign_is_main; then
    # In a subshell, because the script may have its own trap for XFSZ.
    (trap '' XFSZ; __countersign_write >>"$__countersign_file")
    alias exit=__countersign_leave
  fi
  return "$__countersign_status"
}

__countersign_leave() {
  { __countersign_last; } >/dev/null 2>&1
  exit "${1-$__countersign_status}"
}

# No command of the script follows, so functions of the script can be removed.
__countersign_last() {
  set +aefux
  unset -f command printf pwd read
  if __countersign_is_main; then
    trap '' XFSZ
    __countersign_write >>"$__countersign_file"
  fi
}

# Keeps the last record when the script sets a trap for EXIT.
__countersign_trap() {
  {
    __countersign_special=
    if [ $# -gt 0 ]; then
      for __countersign_item; do
        case $__countersign_item in EXIT | 0) __countersign_special=y ;; esac
      done
    elif __countersign_is_main; then
      __countersign_special=list
    fi
  } 2>/dev/null
  case $__countersign_special in
  '') trap "$@" ;;
  list) __countersign_show ;;
  *) __countersign_set "$@" ;;
  esac
}

__countersign_set() {
  {
    case $1 in --) shift ;; esac
    __countersign_action=-
    # Without an action, each operand is a signal whose trap ends.
    case $# in
    1) ;;
    *) case $1 in '' | *[!0-9]*) __countersign_action=$1; shift ;; esac ;;
    esac
    for __countersign_item; do
      shift
      case $__countersign_item in EXIT | 0) ;; *) set -- "$@" "$__countersign_item" ;; esac
    done
    case $__countersign_action in
    "$__countersign_plain" | "$__countersign_chain") ;;
    *)
      if ! __countersign_is_main; then
        trap -- "$__countersign_action" EXIT
      elif [ "$__countersign_action" = - ]; then
        unset -v __countersign_exit
        trap -- "$__countersign_plain" EXIT
      else
        __countersign_exit=$__countersign_action
        trap -- "$__countersign_chain" EXIT
      fi
      ;;
    esac
  } 2>/dev/null
  case $# in 0) ;; *) trap -- "$__countersign_action" "$@" ;; esac
}

# Prints the traps of the script.
__countersign_show() {
  {
    if [ "${__countersign_exit+y}" ]; then
      __countersign_rest=$__countersign_exit
      __countersign_text=
      while :; do
        case $__countersign_rest in
        *\'*) __countersign_text="$__countersign_text${__countersign_rest%%\'*}'\\''" ;;
        *) break ;;
        esac
        __countersign_rest=${__countersign_rest#*\'}
      done
      command printf "trap -- '%s%s' EXIT\\n" "$__countersign_text" "$__countersign_rest"
    fi
    trap - EXIT
    trap
    if [ "${__countersign_exit+y}" ]; then
      trap -- "$__countersign_chain" EXIT
    else
      trap -- "$__countersign_plain" EXIT
    fi
  } 2>/dev/null
}

if [ -n "$__countersign_file" ] && { __countersign_is_main; } 2>/dev/null; then
  trap -- "$__countersign_plain" EXIT
  alias trap=__countersign_trap
fi
case ${__countersign_script+y} in y) . "$__countersign_script" ;; esac
