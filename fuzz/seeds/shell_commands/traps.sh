((ada) ); echo `echo \`bob\`` "$(cat <<'E'
it's $(cyd))
E
dan)" ${x:-"}"$(eve)} $'a\'b' {a,b}
a=(1 $(f) [2]=x) b[0]+=$((1 << (2))) c='a[$(x)]' d=<(y) >(z) {v}>o 3<&0 &>o
sh -c 'eval "trap \"gus\" EXIT"' && xargs -0I% env -S 'B=1 nice -n5' hal % |& sudo -u x -- ivy
case $(k) in (a|@(b|c)) l ;;& *) m ;& esac
function n { coproc P { o; }; time -p ! q; } ; for ((i=0;i<1;i++)) { r; }
alias s='t u'; git -c alias.v='!w' v; find . -exec sh -c 'x "$1"' _ {} + -o -ok y \;
select z in a; do until ada; do :; done; done <<< "$b"
[[ a =~ ^(b|$(c))$ || ( d < e ) ]]; "${f[@]}" "${!g}" ${h@P} $[1]
