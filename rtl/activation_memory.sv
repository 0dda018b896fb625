/// A token's int8 codes, written a beat (`AxiBytes` codes) at a time and read as aligned words of `Window` codes. Read latency
/// one cycle.
module activation_memory #(
    parameter int unsigned MaxCodes = 1024,
    parameter int unsigned Window = 8,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Beats = MaxCodes / AxiBytes,
    localparam int unsigned BeatBits = $clog2(Beats),
    localparam int unsigned WordBits = $clog2(MaxCodes / Window)
) (
    input  logic                clk_i,
    input  logic                write_i,
    input  logic [BeatBits-1:0] write_beat_i,
    input  logic [8*AxiBytes-1:0] write_data_i,
    input  logic                read_i,
    input  logic [WordBits-1:0] read_word_i,
    output logic [8*Window-1:0] read_data_o
);

  localparam int unsigned SelectBits = WordBits - BeatBits;

  logic [8*AxiBytes-1:0] beat;

  ram_1r1w #(
      .Width(8 * AxiBytes),
      .Depth(Beats),
      .RamStyle("distributed")
  ) u_ram (
      .clk_i,
      .write_i,
      .write_address_i(write_beat_i),
      .write_data_i,
      .read_i,
      .read_address_i(read_word_i[WordBits-1:SelectBits]),
      .read_data_o(beat)
  );

  if (SelectBits == 0) begin : g_whole
    assign read_data_o = beat;
  end else begin : g_part
    logic [SelectBits-1:0] select_q;
    always_ff @(posedge clk_i) begin
      if (read_i) select_q <= read_word_i[SelectBits-1:0];
    end
    assign read_data_o = beat[{select_q, {$clog2(8*Window) {1'b0}}}+:8*Window];
  end

`ifndef SYNTHESIS
  initial assert ($onehot(Window) && Window <= AxiBytes && $onehot(MaxCodes)) else $fatal(1, "activation_memory: Window, MaxCodes");
  logic settled_q = 1'b0;
  always_ff @(posedge clk_i) begin
    settled_q <= 1'b1;
    assert (!(settled_q && write_i && read_i && write_beat_i == read_word_i[WordBits-1:SelectBits]))
    else $error("activation_memory: a beat was read while it was written");
  end
`endif

endmodule
