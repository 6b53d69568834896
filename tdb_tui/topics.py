"""Help that belongs to no single command."""

TOPICS = {
    "nodes": """\
L2H3       head 3 of layer 2          L2H*  L2H{1,4}  L2H0-3   several heads
A2  M2     a layer's attention, MLP   L2    both             A0-2  M*  several
N2.130     neuron 130 of layer 2
E          token and position embedding (WTE, WPE: one of them)
BA2 BM2    the bias after attention, after the MLP;  BU  the final layer norm's bias
U          the unembedding
resid_pre.2  resid_mid.2  resid_post.2    residual stream before layer 2, after its attention, after its MLP
L2H3.q  .k  .v  .pattern   inside a head;  L2.pattern  of all heads of the layer;  L2H3.z  is L2H3
ln1_scale.2  ln2_scale.2  ln_final_scale  what layer norms divide by (places are for edits)
@POS       at a token (help positions);  L2H3@END<2  a head's attention from END to token 2
L0H1,L2H3@END,M0@3         a position is that of the parts before it (ablate, patch, freeze, steer)
Also read: 2.3  h2.3  a2.h3  blocks.2.attn.hook_z[3]  attn_out.2  blocks.2.hook_resid_mid  mlp2  L2N130""",
    "positions": """\
@14        token 14, from 0; @-1 the last
@END       the last token of the prompt;  @START  the first
@Mary      the token ' Mary', where there is one;  @John#2  the second ' John'
@2:5       tokens 2 to 5;  @*  every token
@IO        a name given with: set pos IO=2;  of prompt B: set pos B.IO=4""",
    "expressions": """\
ld         the metric through the lens, after what has been executed;  final  at the end
dld        what the last line added
p('Mary')  logit('Mary')  rank('Mary')  top(1)   through the lens, at the token cursor
attn(END, Mary, L2H3)    an attention weight (the head shown, where none is named)
act(N2.130@END)  norm(L2H3@END)  norm(resid)  direct(NODE)  total(NODE)  cos(NODE, NODE)
base(ld)   the same without edits
line  kind  layer  pos   where the pass stands
+ - * / **  < <= == != >= >  and or not  abs min max""",
}
