/// First-in first-out queue in registers. Valid/ready on both sides; a word may leave the cycle after it came.
/// Throughput one word a cycle.
module fifo #(
    parameter int unsigned Width = 8,
    parameter int unsigned Depth = 4,
    localparam int unsigned CountBits = $clog2(Depth + 1),
    localparam int unsigned PointerBits = (Depth > 1) ? $clog2(Depth) : 1
) (
    input  logic                 clk_i,
    input  logic                 rst_ni,
    input  logic                 clear_i,
    input  logic                 valid_i,
    output logic                 ready_o,
    input  logic [    Width-1:0] data_i,
    output logic                 valid_o,
    input  logic                 ready_i,
    output logic [    Width-1:0] data_o,
    output logic [CountBits-1:0] count_o
);

  logic [Width-1:0] memory[Depth];
  logic [PointerBits-1:0] head_q, tail_q;
  logic [CountBits-1:0] count_q;
  logic push, pop;

  assign ready_o = count_q != CountBits'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = memory[head_q];
  assign count_o = count_q;
  assign push    = valid_i && ready_o;
  assign pop     = valid_o && ready_i;

  always_ff @(posedge clk_i) begin
    if (push) memory[tail_q] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || clear_i) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
    end else begin
      if (push) tail_q <= (tail_q == PointerBits'(Depth - 1)) ? '0 : tail_q + 1'b1;
      if (pop) head_q <= (head_q == PointerBits'(Depth - 1)) ? '0 : head_q + 1'b1;
      if (push && !pop) count_q <= count_q + 1'b1;
      if (!push && pop) count_q <= count_q - 1'b1;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) assert (count_q <= CountBits'(Depth)) else $error("fifo: count beyond depth");
  end
`endif

endmodule
